"""A plain HTTP sender like curl, and helpers that observe a collector from outside."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

KEY = bytes(range(100, 132))
GUARD_S = 120.0
"""Longest wait in s for a condition, which only ends a test that hangs."""


@dataclass(frozen=True)
class Reply:
    """A reply to a request; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        return str(self.json["reason"])


def request(
    url: str,
    method: str,
    path: str,
    body: bytes | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    source: str = "127.0.0.1",
) -> Reply:
    """Send one request from the address `source`, on a new connection."""
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(
        parts.hostname, parts.port, timeout=GUARD_S, source_address=(source, 0)
    )
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, names, answer.read())
    finally:
        connection.close()


def post(
    url: str,
    body: bytes,
    *,
    path: str = "/usage",
    headers: Mapping[str, str] | None = None,
    source: str = "127.0.0.1",
) -> Reply:
    """Post a body like asl-telemetry's curl."""
    sent = {"User-Agent": "curl/7.88.1", "Accept": "*/*", "Content-Type": "application/json"}
    return request(url, "POST", path, body, headers=sent | dict(headers or {}), source=source)


def get(url: str, path: str) -> Reply:
    return request(url, "GET", path)


def report(
    nodes: list[int], server: str = "", *, without: tuple[str, ...] = (), **fields: Any
) -> dict[str, Any]:
    """Build a report of these nodes; `fields` override its fields, with `_` for `-` in names."""
    said: dict[str, Any] = {
        "uuid": server or str(uuid.uuid4()),
        "ast-ver": "Asterisk 22.2.0+asl3-3.3.0-1.deb12",
        "nodes": nodes,
        "nodes-reg-http": nodes,
        "nodes-reg-iax": [],
        "nodes-channels": {str(node): "SimpleUSB" for node in nodes},
        "uptime": "4102",
        "reload-time": "4102",
        "os": "Linux",
        "distro": "Debian",
        "release": "12",
        "kernel": "6.1.0-31-amd64",
        "arch": "x86_64",
        "pkgs": {"asl3": "3.5.1-1.deb12"},
    }
    said |= {name.replace("_", "-"): value for name, value in fields.items()}
    return {name: value for name, value in said.items() if name not in without}


def encoded(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said).encode()


def server_name(server: str, key: bytes = KEY) -> str:
    """The pseudonym of a server, computed without the product's code."""
    return blake2b(
        server.lower().encode(), key=key, person=b"collector-server", digest_size=8
    ).hexdigest()


def node_name(node: int, key: bytes = KEY) -> str:
    """The pseudonym of a node, computed without the product's code."""
    return blake2b(str(node).encode(), key=key, person=b"collector-node", digest_size=8).hexdigest()


def lay_key(state: Path, key: bytes = KEY) -> None:
    """Write a pseudonym key to a state directory before a collector makes one."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    (state / "pseudonym.key").write_text(key.hex() + "\n")
    (state / "pseudonym.key").chmod(0o600)


def key_of(state: Path) -> bytes:
    return bytes.fromhex((state / "pseudonym.key").read_text())


def metric(metrics_url: str, name: str, **labels: str) -> float:
    """The value of a sample on /metrics; 0 if it is missing."""
    page = get(metrics_url, "/metrics").body.decode()
    # Waits look here again and again, and the parser is slow.
    samples = [row for row in page.splitlines(keepends=True) if row.startswith(name)]
    for family in text_string_to_metric_families("".join(samples)):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return 0.0


def eventually(holds: Callable[[], bool], *, within: float = GUARD_S) -> None:
    """Wait until the condition holds; fail after `within` seconds."""
    deadline, pauses = time.monotonic() + within, _pauses()
    while not holds():
        assert time.monotonic() < deadline, f"not so within {within} s"
        time.sleep(next(pauses))


async def until(holds: Callable[[], bool], *, within: float = GUARD_S) -> None:
    """Wait in an event loop until the condition holds; fail after `within` seconds."""
    deadline, pauses = time.monotonic() + within, _pauses()
    while not holds():
        assert time.monotonic() < deadline, f"not so within {within} s"
        await asyncio.sleep(next(pauses))


def _pauses() -> Iterator[float]:
    """Pauses between looks, in s: a long wait leaves the processor to what it waits for."""
    pause = 0.02
    while True:
        yield pause
        pause = min(1.2 * pause, 0.2)
