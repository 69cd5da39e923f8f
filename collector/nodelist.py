"""Public node list: fetched every 15 minutes, and cached on disk as node numbers only.

Format: one node a line, `number|callsign|description|location`.
"""

from __future__ import annotations

import array
import asyncio
import codecs
import json
import os
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import aiohttp
import structlog
from aiohttp import hdrs

from collector.metrics import Metrics

log = structlog.get_logger("collector.nodelist")

FILE: Final = "nodelist.bin"
_FOLLOW_S: Final = 5.0
_EVERY_S: Final = 15 * 60
_TIMEOUT_S: Final = 60
_LARGEST: Final = 64 << 20
_NODE_MAX: Final = (1 << 31) - 1
_DIGITS_MAX: Final = 10


class NodeListError(Exception):
    """The list could not be fetched, or is not usable; the text says why."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A cached list: its nodes, and the server's validators for conditional requests."""

    nodes: frozenset[int]
    etag: str
    last_modified: str


def parse(text: bytes) -> frozenset[int]:
    """The node numbers in a list; lines that do not start with a number are ignored.

    A byte order mark at the start is ignored too. Raises NodeListError for a list without nodes.
    """
    text = text.removeprefix(codecs.BOM_UTF8)
    numbers = (row.partition(b"|")[0].strip() for row in text.split(b"\n") if b"|" in row)
    found = (int(s) for s in numbers if s.isdigit() and len(s) <= _DIGITS_MAX)
    nodes = frozenset(n for n in found if n <= _NODE_MAX)
    if not nodes:
        raise NodeListError("the list names no node")
    return nodes


def save(path: Path, copy: Copy) -> None:
    """Write a copy: a line of JSON, then the numbers, 4 bytes each. Call signs are not stored."""
    head = json.dumps(
        {"etag": copy.etag, "last_modified": copy.last_modified, "nodes": len(copy.nodes)}
    )
    numbers = array.array("I", sorted(copy.nodes))
    # A receiver and a publisher that share a directory both fetch.
    new = path.with_suffix(f".{os.getpid()}.new")
    new.write_bytes(head.encode() + b"\n" + numbers.tobytes())
    new.replace(path)


def load(path: Path) -> Copy | None:
    """The copy that `save` wrote; None if there is none, or it is damaged."""
    try:
        head, _, numbers = path.read_bytes().partition(b"\n")
        stored = json.loads(head)
        nodes = frozenset(array.array("I", numbers))
        copy = Copy(nodes, str(stored["etag"]), str(stored["last_modified"]))
        whole = len(nodes) == stored["nodes"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("the copy of the node list is damaged", error=type(error).__name__)
        return None
    if not whole:
        log.warning("the copy of the node list is damaged", error="incomplete")
    return copy if whole else None


class NodeList:
    """The last usable list. Without a list, or without `url`, every public node number counts.

    If `fetches` is false, another process fetches the list into the same directory.
    """

    def __init__(
        self, url: str, *, directory: Path, metrics: Metrics, fetches: bool = True
    ) -> None:
        self._url = url
        self._fetches = fetches
        self._path = directory / FILE
        self._metrics = metrics
        self._confirmed = 0.0
        self._copy: Copy | None = None
        if url:
            self._load()
        self._measure()

    def _load(self) -> None:
        """Use the copy on disk, if there is a usable one."""
        copy = load(self._path)
        if copy is not None:
            self._copy = copy
            self._confirmed = self._path.stat().st_mtime

    def lists(self, node: int) -> bool:
        """Whether a public node number is listed, or there is no list."""
        return self._copy is None or node in self._copy.nodes

    async def run(self) -> None:
        """Fetch the list now and every 15 minutes, until cancelled. Returns if there is no URL."""
        if not self._url:
            return
        if not self._fetches:
            await self._follow()
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        # `trust_env`: use the proxies in HTTPS_PROXY and NO_PROXY.
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
            while True:
                try:
                    outcome = await self._fetch(session)
                except (NodeListError, aiohttp.ClientError, TimeoutError, OSError) as error:
                    outcome = "failed"
                    log.warning(
                        "the node list could not be fetched; the previous one stays in use",
                        error=str(error) or type(error).__name__,
                    )
                self._metrics.nodelist_fetches.labels(outcome).inc()
                self._measure()
                await asyncio.sleep(_EVERY_S)

    async def _follow(self) -> None:
        """Load each new copy that another process has fetched."""
        while True:
            await asyncio.sleep(_FOLLOW_S)
            try:
                new = self._path.stat().st_mtime != self._confirmed
            except OSError:
                continue
            if new:
                await asyncio.to_thread(self._load)
                self._measure()

    async def _fetch(self, session: aiohttp.ClientSession) -> str:
        headers = {}
        if self._copy is not None and self._copy.etag:
            headers[hdrs.IF_NONE_MATCH] = self._copy.etag
        if self._copy is not None and self._copy.last_modified:
            headers[hdrs.IF_MODIFIED_SINCE] = self._copy.last_modified
        async with session.get(self._url, headers=headers) as response:
            if response.status == HTTPStatus.NOT_MODIFIED:
                self._confirmed = time.time()
                return "unchanged"
            if response.status != HTTPStatus.OK:
                raise NodeListError(f"the server responded with status {response.status}")
            text = bytearray()
            async for piece in response.content.iter_chunked(1 << 16):
                text += piece
                if len(text) > _LARGEST:
                    raise NodeListError("the list is larger than 64 MiB")
            found = response.headers
        nodes = parse(bytes(text))
        if self._copy is not None and len(nodes) < len(self._copy.nodes) / 2:
            raise NodeListError("the list has lost over half of its nodes")
        self._copy = Copy(nodes, found.get(hdrs.ETAG, ""), found.get(hdrs.LAST_MODIFIED, ""))
        self._confirmed = time.time()
        await asyncio.to_thread(save, self._path, self._copy)
        log.info("node list fetched", nodes=len(nodes))
        return "fetched"

    def _measure(self) -> None:
        if not self._fetches:
            # Only the process that fetches knows when the list was last confirmed.
            return
        self._metrics.nodelist_nodes.set(len(self._copy.nodes) if self._copy else 0)
        age = time.time() - self._confirmed if self._copy else 0.0
        self._metrics.nodelist_age_seconds.set(max(0.0, age))
