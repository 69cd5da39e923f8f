"""The fast path and aiohttp's own way give the same answers, byte for byte but for the date.

Each stream of bytes goes to two servers, in the same pieces: one with the fast path, one without.
A piece is sent once the server has the one before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiohttp import web

from collector.admission import Network
from collector.connections import Connection, Listener
from collector.fast_path import FAST_PATH, FastHandler, FastPath
from collector.guard import Limits
from collector.listen import listening
from collector.outbox import OutboxFile
from collector.public.headers import public_headers
from collector.setting_types import Address
from tests.hostile.test_http import NO_HTTP, SMUGGLED
from tests.hostile.wire import head, posted
from tests.receiving import PSEUDONYMS, Receiving
from tests.sender import GUARD_S, encoded, report, until

LIMIT = 4096
HEAD_LIMIT = 16 << 10
CLOSE = "Connection: close"
BODY = encoded(report([2001, 1999]))
OUT, BROKEN = (f"5f0e2d1c-0000-4000-9000-{n:012x}" for n in (1, 2))
PLAIN = posted(BODY)
LAST = posted(BODY, CLOSE)
NOWHERE = head(method="GET", path="/nowhere")
BAD = posted(b"{")
NO_NODES = posted(encoded(report([1])))
OPTED_OUT = posted(encoded(report([2001], OUT)))
FAILS = posted(encoded(report([2001], BROKEN)))
CONTINUE = posted(BODY, "Expect: 100-continue")
CHUNKED = head("Transfer-Encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
END = b"\0" * 64 + b"\r\n\r\n"
"""No HTTP, whatever is awaited: the server closes."""

STREAMS = {
    "one": LAST,
    "kept alive": PLAIN * 3 + LAST,
    "refused, then taken": BAD + PLAIN + NO_NODES + PLAIN + LAST,
    "opted out": OPTED_OUT + PLAIN + OPTED_OUT + LAST,
    "a fault of ours ends the connection": PLAIN + FAILS + PLAIN,
    "other routes between": NOWHERE + PLAIN + NOWHERE + NOWHERE + PLAIN + LAST,
    "other methods": head(method="GET") + PLAIN + head(method="PUT", length=0) + LAST,
    "both addresses": posted(BODY, path="/usage/usage") + LAST,
    "nearly the address": posted(BODY, path="/usage?a=b")
    + posted(BODY, path="/%75sage")
    + posted(BODY, path="/usage/")
    + posted(BODY, path="http://x/usage")
    + LAST,
    "no body": head(length=0) + head() + LAST,
    "expectations": CONTINUE + PLAIN + posted(BODY, "Expect: the-moon") + CONTINUE + LAST,
    "chunks": CHUNKED + PLAIN + CHUNKED + LAST,
    "chunks with trailers": CHUNKED[:-2] + b"X: y\r\n\r\n" + PLAIN + LAST,
    "HTTP/1.0": PLAIN + b"POST /usage HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY,
    "HTTP/1.0, kept alive": b"POST /usage HTTP/1.0\r\nConnection: keep-alive\r\n"
    + b"Content-Length: %d\r\n\r\n" % len(BODY)
    + BODY
    + LAST,
    "encodings": posted(BODY, "Content-Encoding: gzip")
    + posted(BODY, "Content-Encoding: identity")
    + posted(BODY, "Content-Encoding:")
    + LAST,
    "just the limit": posted(BODY.ljust(LIMIT)) + LAST,
    "over the limit": PLAIN + posted(BODY.ljust(LIMIT + 1)) + LAST,
    "upgrades": posted(BODY, "Connection: Upgrade", "Upgrade: websocket") + PLAIN + LAST,
    "upgrade behind others": PLAIN * 2
    + posted(BODY, "Connection: Upgrade", "Upgrade: websocket")
    + PLAIN
    + LAST,
    "more than the queue holds": PLAIN * 70 + BAD + NOWHERE + PLAIN * 70 + LAST,
    "nothing behind the last": LAST + PLAIN,
    "no HTTP behind a request": PLAIN + b"\0\0\0\r\n\r\n",
    "garbage behind a short length": head(length=2) + b"{}trailing garbage\r\n\r\n",
    "a long head behind a request": PLAIN + head(f"X: {'y' * 9000}") + PLAIN,
    "two lengths behind a request": PLAIN + head("Content-Length: 2", "Content-Length: 3") + b"{}",
    "by TLS": posted(b"{", "X-Forwarded-Proto: https") + PLAIN + LAST,
}
NOT_HTTP = {
    **{kind: sent + END for kind, sent in NO_HTTP.items()},
    **{f"behind a request, {kind}": PLAIN + sent + END for kind, sent in SMUGGLED.items()},
}

TRUSTED = [ipaddress.ip_network("127.0.0.0/8")]
DATE = re.compile(rb"(?m)^Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r$")
RETRY = re.compile(rb"(?m)^Retry-After: \d+\r$")


class Seen:
    """Servers' sides of connections: what each has had from the wire, by the ports of both ends."""

    def __init__(self) -> None:
        self.connections: dict[tuple[int, int], Connection] = {}
        self.bytes: Counter[tuple[int, int]] = Counter()
        self.lost: set[tuple[int, int]] = set()
        self._news = asyncio.Event()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until something that connections do has made it true."""
        async with asyncio.timeout(GUARD_S):
            while not reached():
                self._news.clear()
                await self._news.wait()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """See all connections."""
        made, got, lost = (
            Connection.connection_made,
            Connection.data_received,
            Connection.connection_lost,
        )
        keys: dict[Connection, tuple[int, int]] = {}

        def connection_made(one: Connection, transport: asyncio.BaseTransport) -> None:
            ports = [transport.get_extra_info(name)[1] for name in ("peername", "sockname")]
            keys[one] = (ports[0], ports[1])
            self.connections[keys[one]] = one
            made(one, transport)

        def data_received(one: Connection, data: bytes) -> None:
            got(one, data)
            self.bytes[keys[one]] += len(data)
            self._news.set()

        def connection_lost(one: Connection, exc: BaseException | None) -> None:
            lost(one, exc)
            self.lost.add(keys[one])
            self._news.set()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Connection, "connection_made", connection_made)
            patch.setattr(Connection, "data_received", data_received)
            patch.setattr(Connection, "connection_lost", connection_lost)
            yield


class Client:
    """One connection to a server of a test."""

    def __init__(
        self, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._seen = seen
        self._key = (writer.get_extra_info("sockname")[1], writer.get_extra_info("peername")[1])
        self._sent = 0

    @property
    def connection(self) -> Connection:
        """The server's side."""
        return self._seen.connections[self._key]

    @property
    def lost(self) -> bool:
        """Whether the server has closed."""
        return self._key in self._seen.lost

    async def send(self, piece: bytes) -> bool:
        """Send, and wait until the server has it; False where it has closed."""
        self.writer.write(piece)
        self._sent += len(piece)
        await self._seen.until(lambda: self.lost or self._seen.bytes[self._key] >= self._sent)
        return not self.lost

    async def closed(self) -> None:
        """Wait until the server has closed."""
        await self._seen.until(lambda: self.lost)

    async def answer(self) -> bytes:
        """The next answer."""
        answer = await self.reader.readuntil(b"\r\n\r\n")
        (length,) = re.findall(rb"(?i)content-length: (\d+)", answer)
        return answer + await self.reader.readexactly(int(length))

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        received = bytearray()
        with contextlib.suppress(ConnectionError):
            while piece := await self.reader.read(1 << 16):
                received += piece
        return bytes(received)


class Server:
    """An intake that is listened on, with the fast path or without."""

    def __init__(self, receiving: Receiving, seen: Seen) -> None:
        self.receiving = receiving
        self.seen = seen
        self.fast = 0
        """Requests that the fast path took."""
        self.port = 0

    def fast_path(self) -> FastPath:
        def counting(handler: FastHandler) -> FastHandler:
            def counted(*given: Any) -> None:
                self.fast += 1
                handler(*given)

            return counted

        handlers = self.receiving.intake.fast_handlers().items()
        return FastPath({path: counting(one) for path, one in handlers}, max_body=LIMIT)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Client(self.seen, reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def answers(self, pieces: list[bytes]) -> bytes:
        """All that comes back for these pieces, until the server closes."""
        async with self.connected() as client, asyncio.timeout(GUARD_S):
            for piece in pieces:
                if not await client.send(piece):
                    break
            return RETRY.sub(b"Retry-After: -\r", DATE.sub(b"Date: -\r", await client.rest()))

    def metric(self, name: str, **labels: str) -> float:
        return self.receiving.metric(name, **labels) or 0.0

    def figures(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Every counter that requests change."""
        return {
            (sample.name, tuple(sample.labels.items())): sample.value
            for family in self.receiving.metrics.registry.collect()
            for sample in family.samples
            if sample.name.startswith(FIGURES)
        }


FIGURES = (
    "collector_reports_total",
    "collector_nodes_total",
    "collector_http_refusals_total",
    "collector_request_seconds_count",
)


@asynccontextmanager
async def serving(
    path: Path,
    seen: Seen,
    *,
    fast: bool,
    connections: int = 500,
    seconds: int = 120,
    rate_limit: int = 0,
    trusted: Sequence[Network] = (),
) -> AsyncIterator[Server]:
    await asyncio.to_thread(path.mkdir)
    receiving = Receiving(
        path, rate_limit=rate_limit, trusted_proxies=trusted, read_timeout_s=seconds
    )
    receiving.choices.out.add(PSEUDONYMS.server(OUT))
    receiving.choices.broken.add(PSEUDONYMS.server(BROKEN))
    server = Server(receiving, seen)
    application = web.Application(client_max_size=LIMIT + 1)
    application.add_routes(receiving.intake.routes())
    application.on_response_prepare.append(public_headers(trusted))
    if fast:
        application[FAST_PATH] = server.fast_path()
    limits = Limits(
        connections=connections, per_address=connections, head_bytes=HEAD_LIMIT, seconds=seconds
    )
    listener = Listener(limits, receiving.metrics, name="public")
    try:
        async with listening(application, Address("127.0.0.1", 0), listener) as address:
            server.port = address.port
            yield server
    finally:
        await receiving.outbox.close()


@asynccontextmanager
async def both(path: Path, **options: Any) -> AsyncIterator[list[Server]]:
    """A server with the fast path, and one without."""
    async with AsyncExitStack() as stack:
        seen = Seen()
        stack.enter_context(seen.watching())
        yield [
            await stack.enter_async_context(
                serving(path / f"fast-{fast}", seen, fast=fast, **options)
            )
            for fast in (True, False)
        ]


def cuts(stream: bytes, seed: int) -> list[bytes]:
    """The stream in a few pieces, cut anywhere."""
    at = random.Random(seed)
    places = sorted({at.randrange(len(stream)) for _ in range(at.randint(1, 8))} | {0})
    return [stream[a:b] for a, b in pairwise([*places, len(stream)])]


def ways(kind: str, stream: bytes) -> Iterator[list[bytes]]:
    """Ways to send a stream in pieces."""
    yield [stream]
    yield [piece for piece in re.split(rb"(?=POST|GET|PUT)", stream) if piece]
    for seed in range(3):
        yield cuts(stream, seed)
    if kind in STREAMS:
        # What is no HTTP is waited for where its head has been taken.
        yield [piece for piece in re.split(rb"(?<=\r\n\r\n)", stream) if piece]
        if len(stream) < 600:
            yield [bytes([byte]) for byte in stream]


def on_both(path: Path, check: Callable[[Server], Awaitable[object]], **options: Any) -> None:
    """Both servers pass a check, and what it returns is the same."""

    async def run() -> None:
        async with both(path, **options) as servers:
            fast, ordinary = await asyncio.gather(*(check(server) for server in servers))
            assert fast == ordinary
            assert servers[0].figures() == servers[1].figures()
            assert servers[0].fast > 0
            assert servers[1].fast == 0

    uvloop.run(run())


@contextmanager
def held(server: Server) -> Iterator[None]:
    """Nothing becomes durable while the block runs."""
    # Another connection's transaction: the outbox waits for its end.
    with OutboxFile(server.receiving.path) as file, file.transaction():
        yield


def accepted(server: Server) -> float:
    return server.metric("collector_reports_total", intake="asl", outcome="accepted")


def test_every_stream_has_the_same_answers_on_both_ways(tmp_path: Path) -> None:
    async def compare() -> None:
        async with both(tmp_path) as servers:
            at_once = asyncio.Semaphore(40)

            async def same(kind: str, pieces: list[bytes]) -> None:
                async with at_once:
                    fast, ordinary = await asyncio.gather(
                        *(server.answers(pieces) for server in servers)
                    )
                assert fast == ordinary, (kind, pieces)
                assert fast.startswith(b"HTTP/"), (kind, pieces)

            async with asyncio.TaskGroup() as group:
                for kind, stream in (STREAMS | NOT_HTTP).items():
                    for pieces in ways(kind, stream):
                        group.create_task(same(kind, pieces))
            fast, ordinary = servers
            assert fast.figures() == ordinary.figures()
            assert len(fast.receiving.servers()) == len(ordinary.receiving.servers())
            assert fast.fast > 300
            assert ordinary.fast == 0

    uvloop.run(compare())


def test_first_request_of_a_connection_takes_the_fast_path(tmp_path: Path) -> None:
    """The real client sends one request on a connection."""

    async def check(server: Server) -> None:
        for _ in range(20):
            async with server.connected() as client:
                client.writer.write(PLAIN)
                assert b" 200 OK" in await client.answer()

    async def run() -> None:
        async with both(tmp_path) as servers:
            for server in servers:
                await check(server)
            assert [server.fast for server in servers] == [20, 0]

    uvloop.run(run())


def test_rate_of_an_address_is_limited_alike(tmp_path: Path) -> None:
    async def check(server: Server) -> list[bytes]:
        async def statuses(*more: str) -> bytes:
            async with server.connected() as client:
                got = b""
                for _ in range(4):
                    await client.send(posted(BODY, *more))
                    got += await client.answer()
            return RETRY.sub(b"-", DATE.sub(b"-", got))

        first, second = "X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 198.51.100.2, 127.0.0.5"
        found = [await statuses(), await statuses(first), await statuses(second)]
        assert [one.count(b" 429 ") for one in found] == [1, 1, 1]
        return found

    on_both(tmp_path, check, rate_limit=3, trusted=TRUSTED)


def test_shutdown_answers_what_it_has_taken_and_then_closes(tmp_path: Path) -> None:
    async def release(idle: Client, hold: AbstractContextManager[None]) -> None:
        # The idle one is closed when every connection is told to close.
        await idle.closed()
        hold.__exit__(None, None, None)

    async def run(path: Path, *, fast: bool) -> list[bytes]:
        seen = Seen()
        async with AsyncExitStack() as clients:
            with seen.watching():
                async with serving(path, seen, fast=fast) as server:
                    client = await clients.enter_async_context(server.connected())
                    idle = await clients.enter_async_context(server.connected())
                    await idle.send(PLAIN)
                    await idle.answer()
                    hold = held(server)
                    hold.__enter__()
                    await client.send(PLAIN)
                    releasing = asyncio.create_task(release(idle, hold))
                await releasing
                assert len(server.receiving.servers()) == 2
                assert server.fast == (2 if fast else 0)
                return [DATE.sub(b"-", await one.rest()) for one in (client, idle)]

    fast, ordinary = (uvloop.run(run(tmp_path / str(fast), fast=fast)) for fast in (True, False))
    assert fast == ordinary
    assert fast[0].startswith(b"HTTP/1.1 200 OK")
    assert fast[1] == b""


def test_sender_that_has_gone_leaves_its_report_and_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    async def check(server: Server) -> list[str]:
        for sent in (PLAIN, PLAIN * 3, BAD, PLAIN + NOWHERE):
            with held(server):
                async with server.connected() as client:
                    await client.send(sent)
                await client.closed()
        for sent in (PLAIN, BAD, NO_NODES):
            async with server.connected() as client:
                client.writer.write(sent)
                client.writer.write_eof()
                await client.closed()
        await until(lambda: server.metric("collector_request_seconds_count") == 7)
        return server.receiving.servers()

    on_both(tmp_path, check)
    assert "error" not in capsys.readouterr().out
    assert not caplog.records


def test_connection_at_work_is_not_closed_for_another(tmp_path: Path) -> None:
    async def check(server: Server) -> bytes:
        async with server.connected() as client:
            with held(server):
                await client.send(PLAIN)
                # For longer than a silent connection is left.
                await asyncio.sleep(0.4)
                async with server.connected() as other:
                    refused = await other.rest()
            assert b"too-many-connections" in refused
            answer = await client.answer()
            assert b" 200 OK" in answer
            return DATE.sub(b"-", refused + answer)

    on_both(tmp_path, check, connections=1)


def test_share_of_senders_that_is_full_is_told_alike_and_counted_once(tmp_path: Path) -> None:
    async def check(server: Server) -> bytes:
        async with server.connected() as first, server.connected() as second:
            await first.send(PLAIN)
            got = await first.answer()
            with held(server):
                await first.send(PLAIN)
                await second.send(PLAIN)
                got += await second.rest()
            got += await first.answer()
            await first.send(PLAIN)
            return DATE.sub(b"-", got + await first.answer())

    on_both(tmp_path, check, connections=2)


def test_sender_that_takes_no_answers_is_waited_for(tmp_path: Path) -> None:
    async def check(server: Server) -> bytes:
        async with server.connected() as client:
            await client.send(PLAIN)
            got = await client.answer()
            client.connection.pause_writing()
            await client.send(PLAIN * 3)
            got += await client.answer()
            # Its answer is not taken: the next request waits.
            await server.receiving.outbox.stats()
            await asyncio.sleep(0.1)
            assert accepted(server) == 2
            client.connection.resume_writing()
            for _ in range(2):
                got += await client.answer()
            assert accepted(server) == 4
            return DATE.sub(b"-", got)

    on_both(tmp_path, check)


def test_idle_connection_is_closed_in_time(tmp_path: Path) -> None:
    async def check(server: Server) -> bytes:
        async with server.connected() as client:
            await client.send(PLAIN)
            await client.answer()
            # Part of a head, and no more.
            await client.send(PLAIN[:20])
            late = await client.rest()
        async with server.connected() as client:
            await client.send(PLAIN)
            await client.answer()
            silent = await client.rest()
        assert b" 408 " in late
        assert silent == b""
        return late

    on_both(tmp_path, check, seconds=1)


def test_fault_for_a_sender_that_has_gone_is_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def check(server: Server) -> None:
        async with server.connected() as client:
            client.writer.write(FAILS)
            client.writer.write_eof()
            await client.closed()

    on_both(tmp_path, check)
    assert capsys.readouterr().out.count("error handling a request") == 2
