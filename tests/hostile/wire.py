"""Raw connections of an attacker: any bytes, in any number, from any loopback address."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import urllib.parse
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


@dataclass(frozen=True)
class Answer:
    """A raw HTTP reply."""

    status: int
    head: bytes
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """Its problem document; {} if it has none."""
        if b"application/problem+json" not in self.head:
            return {}
        said: dict[str, Any] = json.loads(self.body)
        return said

    @property
    def reason(self) -> str:
        return str(self.problem.get("reason", ""))


def split(received: bytes) -> list[Answer]:
    """Split the bytes of a connection into replies; one without a length takes the rest."""
    answers = []
    while received.startswith(b"HTTP/"):
        head, _, rest = received.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = _LENGTH.search(head)
        if status == 100:
            received = rest
            continue
        size = int(length[1]) if length else len(rest)
        answers.append(Answer(status, head, rest[:size]))
        received = rest[size:]
    return answers


def address(url: str) -> tuple[str, int]:
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def source(number: int) -> str:
    """A loopback address for an attacker's machine, different for each number."""
    return f"127.{64 + number // 60_000}.{number // 250 % 240 + 1}.{number % 250 + 1}"


class Wire:
    """A connection to a collector."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, url: str, *, source: str = "127.0.0.1", limit: int = 1 << 20) -> Wire:
        host, port = address(url)
        async with asyncio.timeout(120):
            return cls(
                *await asyncio.open_connection(host, port, local_addr=(source, 0), limit=limit)
            )

    async def send(self, sent: bytes) -> bool:
        """Send bytes; return False if the other side has closed."""
        try:
            self.writer.write(sent)
            async with asyncio.timeout(120):
                await self.writer.drain()
        except (OSError, TimeoutError):
            return False
        return not self.reader.at_eof()

    async def drip(self, sent: bytes, *, pause: float = 0.1) -> bytes:
        """Send byte by byte until a reply begins or all is sent; return the bytes received."""
        for byte in sent:
            if not await self.send(bytes([byte])):
                break
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(pause):
                    return await self.reader.read(1 << 16)
        return b""

    async def rest(self, *, within: float = 120.0) -> bytes:
        """Read until the other side closes. Raises TimeoutError if it does not."""
        received = bytearray()
        async with asyncio.timeout(within):
            with contextlib.suppress(ConnectionError):
                while piece := await self.reader.read(1 << 16):
                    received += piece
        return bytes(received)

    async def close(self) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


async def exchange(
    url: str, sent: bytes, *, half: bool = False, source: str = "127.0.0.1", within: float = 120.0
) -> list[Answer]:
    """Send bytes on a new connection and return the replies."""
    wire = await Wire.open(url, source=source)
    try:
        if await wire.send(sent) and half and wire.writer.can_write_eof():
            with contextlib.suppress(OSError):
                wire.writer.write_eof()
        return split(await wire.rest(within=within))
    finally:
        await wire.close()


@asynccontextmanager
async def many(
    url: str, sources: Iterable[str], *, limit: int = 1 << 20
) -> AsyncIterator[list[Wire]]:
    """Connect from each of these addresses; exit closes all connections, also added ones."""
    wires: list[Wire] = []
    try:
        for one in sources:
            wires.append(await Wire.open(url, source=one, limit=limit))  # noqa: PERF401 - an error must not leave connections open
        yield wires
    finally:
        for wire in wires:
            await wire.close()


def head(
    *more: str, path: str = "/usage", method: str = "POST", length: int | None = None
) -> bytes:
    """Build the head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: collector", *more]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def posted(body: bytes, *more: str, path: str = "/usage") -> bytes:
    return head(*more, path=path, length=len(body)) + body
