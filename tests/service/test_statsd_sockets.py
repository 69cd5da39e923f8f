"""Receiving StatsD on real sockets: UDP over IPv4 and IPv6, TCP, unix datagrams and streams."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from collector.intakes.statsd.sockets import (
    LONGEST,
    MOST_CONNECTIONS,
    MOST_FROM_ONE,
    Bound,
    Datagrams,
    bound,
    buffer_bytes,
    placed,
    receiving,
)
from collector.setting_types import parse_endpoint
from tests.sender import until


@dataclass
class Taker:
    """A source that remembers what it took."""

    taken: list[bytes] = field(default_factory=list)
    gone: bool = False

    def take(self, datagram: bytes, now_ns: int) -> None:
        assert now_ns
        self.taken.append(datagram)


@dataclass
class Routes:
    """One Asterisk at the given addresses and paths; everywhere if there are none."""

    addresses: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    taker: Taker = field(default_factory=Taker)
    drops: Counter[str] = field(default_factory=Counter)

    @property
    def only(self) -> Taker | None:
        return None if self.addresses or self.paths else self.taker

    def of_address(self, host: str) -> Taker | None:
        return self.taker if host in self.addresses else None

    def of_path(self, path: str) -> Taker | None:
        return self.taker if path in self.paths else self.only

    def drop(self, reason: str) -> None:
        self.drops[reason] += 1


@asynccontextmanager
async def at(text: str, routes: Routes) -> AsyncIterator[tuple[Bound, list[Datagrams]]]:
    with bound([parse_endpoint(text)]) as sockets:
        readers = [
            Datagrams(one, routes, time.time_ns)
            for one in sockets
            if not one.endpoint.transport.is_stream
        ]
        async with receiving(sockets, readers, routes, time.time_ns):
            yield sockets[0], readers


def sender(one: Bound, source: str = "") -> socket.socket:
    made = socket.socket(one.socket.family, one.socket.type)
    if source:
        made.bind((source, 0))
    made.connect(one.socket.getsockname())
    return made


async def taken(routes: Routes, count: int) -> list[bytes]:
    await until(lambda: len(routes.taker.taken) >= count)
    return routes.taker.taken


@pytest.mark.parametrize("text", ["127.0.0.1:0", "udp://[::1]:0", "unix:{}/s.sock"])
async def test_datagrams_arrive_whole_and_in_order(text: str, tmp_path: Path) -> None:
    routes = Routes()
    async with at(text.format(tmp_path), routes) as (one, _):
        with sender(one) as sending:
            sent = [b"", b"a:1|c\nb:2|g", b"\xff\0\n", *(b"n:%d|c" % n for n in range(2000))]
            for datagram in sent:
                # A unix sender waits until there is room.
                await asyncio.to_thread(sending.send, datagram)
            assert await taken(routes, len(sent)) == sent
    assert not routes.drops


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:0", "tcp://[::1]:0", "unixstream:{}/s.sock"])
async def test_lines_of_a_connection_arrive_however_they_are_cut(text: str, tmp_path: Path) -> None:
    routes = Routes()
    async with at(text.format(tmp_path), routes) as (one, _):
        with sender(one) as sending:
            for piece in (b"a:1", b"|c\nb:2|c\n", b"c:", b"3|c", b"\nd:4|c\ne:5"):
                await asyncio.to_thread(sending.sendall, piece)
                await asyncio.sleep(0.01)
            sending.shutdown(socket.SHUT_WR)
            assert await taken(routes, 5) == [b"a:1|c", b"b:2|c", b"c:3|c", b"d:4|c", b"e:5"]
    assert not routes.drops


async def test_line_that_a_broken_connection_has_cut_is_dropped_and_counted() -> None:
    routes = Routes()
    async with at("tcp://127.0.0.1:0", routes) as (one, _):
        with sender(one) as sending:
            sending.sendall(b"a:1|c\nb:12")
            await taken(routes, 1)
            # No FIN: a reset.
            sending.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await until(lambda: bool(routes.drops))
    assert routes.taker.taken == [b"a:1|c"]
    assert routes.drops == {"cut-line": 1}


async def test_line_without_end_closes_its_connection_alone() -> None:
    routes = Routes()
    async with at("tcp://127.0.0.1:0", routes) as (one, _):
        with sender(one) as sending, sender(one) as other:
            await asyncio.to_thread(sending.sendall, b"x" * (LONGEST + 5))
            await until(lambda: bool(routes.drops))
            assert await asyncio.to_thread(sending.recv, 1) == b""
            other.sendall(b"a:1|c\n")
            assert await taken(routes, 1) == [b"a:1|c"]
    assert routes.drops == {"too-long": 1}


async def test_connection_over_the_limit_is_closed_and_a_closed_one_makes_room() -> None:
    routes = Routes()
    sources = ("127.0.0.2", "127.0.0.3")
    async with at("tcp://127.0.0.1:0", routes) as (one, _):
        assert MOST_FROM_ONE * len(sources) == MOST_CONNECTIONS
        many: list[socket.socket] = []
        for source in sources:
            for number in range(MOST_FROM_ONE):
                many.append(await asyncio.to_thread(sender, one, source))
                many[-1].sendall(b"n:%d|c\n" % number)
            await taken(routes, len(many))
            if len(many) < MOST_CONNECTIONS:
                # One address takes no more than its part; the other has all of its own.
                with sender(one, source) as late:
                    assert await asyncio.to_thread(late.recv, 1) == b""
        with sender(one, "127.0.0.4") as late:
            assert await asyncio.to_thread(late.recv, 1) == b""
        assert routes.drops == {"connection-limit": 2}
        many.pop().close()
        many.pop().close()
        while len(routes.taker.taken) == MOST_CONNECTIONS:
            with sender(one) as next_:
                next_.sendall(b"late:1|c\n")
                await asyncio.sleep(0.02)
        assert routes.taker.taken[-1] == b"late:1|c"
        for each in many:
            each.close()


async def test_foreign_addresses_are_dropped_and_counted() -> None:
    routes = Routes(addresses=("127.0.0.2",))
    async with at("127.0.0.1:0", routes) as (one, _), at("tcp://127.0.0.1:0", routes) as (two, _):
        for _ in range(3):
            with sender(one) as foreign:
                foreign.send(b"a:1|c")
        with sender(two) as foreign:
            assert await asyncio.to_thread(foreign.recv, 1) == b""
        for each in (one, two):
            with socket.socket(socket.AF_INET, each.socket.type) as known:
                known.bind(("127.0.0.2", 0))
                known.connect(each.socket.getsockname())
                known.send(b"b:1|c\n")
        assert sorted(await taken(routes, 2)) == [b"b:1|c", b"b:1|c\n"]
    assert routes.drops == {"foreign-address": 4}


async def test_connection_of_an_asterisk_that_is_taken_out_is_closed() -> None:
    routes = Routes()
    async with at("tcp://127.0.0.1:0", routes) as (one, _):
        with sender(one) as sending:
            sending.send(b"a:1|c\n")
            await taken(routes, 1)
            routes.taker.gone = True
            sending.send(b"b:1|c\n")
            assert await asyncio.to_thread(sending.recv, 1) == b""
    assert routes.taker.taken == [b"a:1|c"]
    assert routes.drops == {"foreign-address": 1}


async def test_unix_socket_of_no_asterisk_takes_nothing(tmp_path: Path) -> None:
    routes = Routes(paths=(f"{tmp_path}/mine",))
    for kind in ("unix", "unixstream"):
        async with (
            at(f"{kind}:{tmp_path}/mine", routes) as (one, _),
            at(f"{kind}:{tmp_path}/other", routes) as (two, _),
        ):
            with sender(two) as foreign, sender(one) as known:
                foreign.send(b"a:1|c\n")
                known.send(b"b:1|c\n")
                await until(lambda: bool(routes.drops) and bool(routes.taker.taken))
        assert routes.drops == {"foreign-address": 1}
        assert [line.strip() for line in routes.taker.taken] == [b"b:1|c"]
        routes.drops.clear()
        routes.taker.taken.clear()


async def test_unix_datagram_that_is_too_long_is_dropped(tmp_path: Path) -> None:
    routes = Routes()
    async with at(f"unix:{tmp_path}/s", routes) as (one, _):
        with sender(one) as sending:
            sending.send(b"x" * (LONGEST + 1))
            sending.send(b"a:1|c")
            assert await taken(routes, 1) == [b"a:1|c"]
    assert routes.drops == {"too-long": 1}


async def test_what_the_kernel_drops_is_counted_exactly() -> None:
    routes = Routes()
    async with at("127.0.0.1:0", routes) as (one, (reader,)):
        assert reader.kernel_drops() == 0
        one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with sender(one) as sending:
            # Not one is read meanwhile: the event loop waits here.
            for _ in range(1000):
                sending.send(b"a:1|c")
        dropped = reader.kernel_drops()
        assert dropped > 0
        await taken(routes, 1000 - dropped)
        assert reader.kernel_drops() == 0
    assert len(routes.taker.taken) == 1000 - dropped


async def test_what_waits_in_a_socket_is_taken_at_the_end() -> None:
    routes = Routes()
    async with at("127.0.0.1:0", routes) as (one, _):
        # As many as the kernel surely holds here: nothing is read meanwhile.
        count = min(1500, buffer_bytes(one.socket) // 1500)
        with sender(one) as sending:
            for number in range(count):
                sending.send(b"n:%d|c" % number)
    assert len(routes.taker.taken) == count > 100


async def test_flood_lets_others_have_their_turn() -> None:
    routes = Routes()
    async with at("127.0.0.1:0", routes) as (one, _):
        stop = asyncio.Event()

        def flood() -> None:
            with sender(one) as sending:
                while not stop.is_set():
                    sending.send(b"a:1|c")

        flooding = asyncio.get_running_loop().run_in_executor(None, flood)
        turns = 0
        while len(routes.taker.taken) < 20_000:
            await asyncio.sleep(0)
            turns += 1
        stop.set()
        await flooding
    assert turns > 20


def test_socket_file_left_by_a_killed_process_is_replaced_and_one_in_use_is_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "s.sock"
    for kind, other in (("unix", "unixstream"), ("unixstream", "unix")):
        killed = socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM if kind == "unix" else socket.SOCK_STREAM
        )
        killed.bind(str(path))
        # The file stays.
        killed.close()
        assert path.is_socket()
        with bound([parse_endpoint(f"{kind}:{path}")]) as sockets:
            if kind == "unixstream":
                sockets[0].socket.listen()
            for again in (kind, other):
                with (
                    pytest.raises(OSError, match=f"cannot listen on unix:{path}"),
                    bound([parse_endpoint(f"{again}:{path}")]),
                ):
                    pass
            assert path.is_socket()
        assert not path.exists()


def test_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    path.write_text("mine")
    with pytest.raises(OSError, match="cannot listen"), bound([parse_endpoint(f"unix:{path}")]):
        pass
    assert path.read_text() == "mine"


def test_udp_address_in_use_is_refused() -> None:
    with bound([parse_endpoint("127.0.0.1:0")]) as (one,):
        text: Callable[[], str] = lambda: one.shown  # noqa: E731
        with pytest.raises(OSError, match="cannot listen on"), bound([parse_endpoint(text())]):
            pass


def test_sockets_that_are_handed_over_are_those_of_the_settings_or_the_start_ends(
    tmp_path: Path,
) -> None:
    texts = ["*:0", "tcp://127.0.0.1:0", f"unix:{tmp_path}/d", f"unixstream:{tmp_path}/s"]
    with bound([parse_endpoint(text) for text in texts]) as sockets:
        endpoints = [
            parse_endpoint(text.replace("*:0", f"*:{sockets[0].socket.getsockname()[1]}"))
            for text in texts
        ]
        port = next(one for one in sockets if one.endpoint.transport == "tcp").socket
        endpoints[1] = parse_endpoint(f"tcp://127.0.0.1:{port.getsockname()[1]}")
        made = [one.socket for one in reversed(sockets)]
        # `*` is a socket for each family.
        assert [place for place, _ in placed(endpoints, made)] == [3, 2, 1, 0, 0]
        assert placed(endpoints, []) == []
        with pytest.raises(OSError, match="has no socket for"):
            placed(endpoints, made[:-2])
        for place in range(4):
            with pytest.raises(OSError, match="which COLLECTOR_STATSD_LISTEN does not name"):
                placed([one for one in endpoints if one != endpoints[place]], made)
