"""Nothing personal is left anywhere: what senders are and said is sought in every byte on disk."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import struct
import time
import urllib.parse
import uuid
from pathlib import Path

import pytest

from tests.conftest import Databases, Serve, StartServe
from tests.remains import contents
from tests.sender import encoded, eventually, get, post, report
from tools.embedded import EmbeddedInflux

SENDER = "127.7.8.9"
FORWARDED = "203.0.113.77"
PROVIDER_USER = "w1provideruser"
UUIDS = [uuid.UUID(f"c0ffee{n:02x}-5eed-4a11-8bad-0ddba11feed5") for n in range(16)]
NODES = [1_987_654_000 + n for n in range(321, 321 + 16)]


def forms() -> dict[str, bytes]:
    """Everything that may be found nowhere, by what it is."""
    wanted = {"sender": SENDER.encode(), "forwarded": FORWARDED.encode()}
    wanted["provider's user"] = PROVIDER_USER.encode()
    for number, one in enumerate(UUIDS):
        for name, text in (("dashed", str(one)), ("plain", one.hex)):
            wanted[f"uuid {number} {name}"] = text.encode()
            wanted[f"uuid {number} {name} upper"] = text.upper().encode()
        wanted[f"uuid {number} raw"] = one.bytes
        wanted[f"uuid {number} little-endian"] = one.bytes_le
    wanted |= {f"node {node}": str(node).encode() for node in NODES}
    return wanted


def found_in(data: bytes, place: str) -> list[str]:
    return [f"{what} in {place}" for what, needle in forms().items() if needle in data]


def found_below(*places: Path) -> list[str]:
    """What is found in files and in those of directories; there must be some."""
    kept = contents(*places)
    assert len(kept) > 5
    return [leak for file, content in kept.items() for leak in found_in(content, str(file))]


def exchange(collector: Serve, sent: bytes, *, breaks_off: bool = False) -> None:
    """Send bytes from the sender's address; wait for an answer, or break the connection off."""
    parts = urllib.parse.urlsplit(collector.url)
    assert parts.hostname is not None
    assert parts.port is not None
    address = (parts.hostname, parts.port)
    # What is no HTTP may be answered, and the connection closed, before it was sent whole.
    with (
        socket.create_connection(address, 10, source_address=(SENDER, 0)) as connection,
        contextlib.suppress(OSError),
    ):
        connection.sendall(sent)
        if breaks_off:
            time.sleep(0.2)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            connection.shutdown(socket.SHUT_WR)
            connection.recv(65536)


def said(number: int) -> dict[str, object]:
    return report([NODES[number], 1999], str(UUIDS[number]))


def send_everything(collector: Serve) -> dict[str, int]:
    """Whatever a sender may do, each with an identity of its own; the status of each answer."""
    texts = {number: encoded(said(number)) for number in range(len(NODES))}
    iax = texts[1].replace(
        b'"nodes-reg-iax": []', f'"nodes-reg-iax": [{NODES[1]},{PROVIDER_USER}]'.encode()
    )
    bodies = {
        "accepted": texts[0],
        "repaired": iax,
        "upper case": texts[2].replace(str(UUIDS[2]).encode(), str(UUIDS[2]).upper().encode()),
        "truncated": texts[3][:-40],
        "wrong field": encoded(said(4) | {"distro": [str(UUIDS[4])]}),
        "wrong uuid": encoded(said(5) | {"uuid": UUIDS[5].hex}),
        "wrong node": encoded(said(6) | {"nodes": [f"{NODES[6]}x"]}),
        "wrong package": encoded(said(7) | {"pkgs": {str(UUIDS[7]): [NODES[7]]}}),
        "wrong channel": encoded(said(8) | {"nodes-channels": {str(NODES[8]): {}}}),
        "too large": texts[9] + b" " * (1 << 16),
        "no public node": encoded(said(10) | {"nodes": [1999]}),
    }
    statuses = {
        name: post(
            collector.url, body, source=SENDER, headers={"X-Forwarded-For": FORWARDED}
        ).status
        for name, body in bodies.items()
    }
    compressed = {"Content-Encoding": "gzip"}
    answer = post(collector.url, gzip.compress(texts[11]), source=SENDER, headers=compressed)
    statuses["compressed"] = answer.status
    path = f"/usage/{UUIDS[12]}?node={NODES[12]}"
    statuses["elsewhere"] = post(collector.url, texts[12], path=path, source=SENDER).status
    head = b"POST /usage HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n"
    exchange(collector, head + texts[13], breaks_off=True)
    exchange(collector, head + texts[13])
    named = f"{UUIDS[14]} {NODES[14]}".encode()
    exchange(collector, b"POST /usage\r\n" + named + b"\r\n\r\n")
    exchange(collector, b"POST /usage HTTP/1.1\r\nno colon " + named + b"\r\n\r\n")
    exchange(collector, b"POST /usage HTTP/1.1\r\nX: \0" + named + b"\r\n\r\n")
    exchange(collector, named + b" /usage HTTP/1.1\r\n\r\n")
    chunked = b"POST /usage HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    exchange(collector, chunked + named + b"\r\n" + texts[15])
    return statuses


EXPECTED = {
    "accepted": 200,
    "repaired": 200,
    "upper case": 200,
    "truncated": 400,
    "wrong field": 200,
    "wrong uuid": 400,
    "wrong node": 400,
    "wrong package": 200,
    "wrong channel": 200,
    "too large": 413,
    "no public node": 400,
    "compressed": 415,
    "elsewhere": 404,
}


@pytest.mark.parametrize("level", ["info", "debug"])
def test_no_identity_of_a_sender_is_found_in_any_byte_kept(
    own_influx: EmbeddedInflux,
    own_databases: Databases,
    serve: StartServe,
    level: str,
) -> None:
    collector = serve(
        own_databases.environment
        | {"COLLECTOR_LOG_LEVEL": level, "COLLECTOR_TRUSTED_PROXIES": "127.7.8.0/24"}
    )
    assert send_everything(collector) == EXPECTED
    server = own_databases.server
    eventually(lambda: server.count(own_databases.raw, "node_report", "node") == 6)
    # Dead letters are kept too: InfluxDB refuses what has another type than the day's points.
    server.query('DROP MEASUREMENT "node_report"', own_databases.raw)
    server.write(own_databases.raw, f'node_report uptime="text" {time.time_ns()}')
    assert post(collector.url, encoded(said(0)), source=SENDER).status == 200
    eventually(lambda: "reason=dead-letter" in collector.logs())

    leaks = found_in(get(collector.metrics_url, "/metrics").body, "/metrics")
    for database in (own_databases.raw, own_databases.daily):
        everything = server.query("SELECT * FROM /.*/", database)
        leaks += found_in(json.dumps(everything).encode(), f"database {database}")
    # Killed, InfluxDB leaves its log of writes; the collector's own is searched either way.
    leaks += found_below(collector.state_dir)
    assert collector.terminate() == 0
    own_influx.terminate()
    leaks += found_below(collector.state_dir, collector.log, own_influx.directory)
    assert leaks == []


def test_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"\0".join(forms().values()))
    (kept,) = contents(tmp_path).values()
    assert len(found_in(kept, "kept")) == len(forms())
