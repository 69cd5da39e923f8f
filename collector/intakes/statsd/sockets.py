"""Sockets that receive StatsD: UDP and unix datagrams, and lines on TCP and unix connections.

Each wake-up of the event loop reads many datagrams: one call of the loop for each would cost
several times as much as the reading. The kernel counts the datagrams that it drops because a
socket's buffer is full; that count is read from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from collector.listen import EVERYWHERE, bind
from collector.setting_types import Address, Endpoint, Transport

LONGEST: Final = 65_536
"""Length in bytes from which datagrams and lines are dropped; UDP's largest is 65 507."""
MOST_CONNECTIONS: Final = 256
MOST_FROM_ONE: Final = 128
"""Most connections from one address or to one unix socket: one sender must not take all places."""
BUFFER_BYTES: Final = 8 << 20
"""Size asked for a socket's receive buffer. The kernel counts over 800 bytes for a small datagram,
so this holds about 10 000 of them."""
_MOST_AT_ONCE: Final = 512
"""Most datagrams read in one wake-up, so that requests and flushes get their turn."""
_SO_RCVBUFFORCE: Final = 33
_SO_MEMINFO: Final = 55
_MEMINFO: Final = struct.Struct("9I")
_DROPS: Final = 8
"""Index of `SK_MEMINFO_DROPS` in SO_MEMINFO (linux/sock_diag.h)."""
_MODE: Final = 0o666
"""Mode of a unix socket: any local program may send, as with UDP on loopback. Permissions of its
directory can limit that."""
_KEEP_FILE: Final[dict[str, Any]] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
"""Option that stops a server from removing its socket's file, which its parent may still have open;
servers do so from Python 3.13 on."""


class Source(Protocol):
    """The Asterisk that datagrams belong to."""

    @property
    def gone(self) -> bool:
        """Whether it no longer accepts datagrams."""
        ...

    def take(self, datagram: bytes, now_ns: int) -> None:
        """Handle a datagram or a line. Never raises."""
        ...


class Route(Protocol):
    """Finds the source of datagrams and connections, and counts those dropped without one."""

    @property
    def only(self) -> Source | None:
        """The only source, if addresses do not matter; else None."""
        ...

    def of_address(self, host: str) -> Source | None:
        """The source at an IP address; None if its datagrams are unwanted."""
        ...

    def of_path(self, path: str) -> Source | None:
        """The source that writes to a unix socket; None if there is none."""
        ...

    def drop(self, reason: str) -> None:
        """Count a datagram, line or connection that is dropped."""
        ...


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound socket and the endpoint of the settings that it belongs to."""

    endpoint: Endpoint
    socket: socket.socket

    @property
    def shown(self) -> str:
        """The address with the port that was bound."""
        at = self.endpoint.at
        if not isinstance(at, str):
            host, port, *_ = self.socket.getsockname()
            at = Address(host, port)
        return str(Endpoint(self.endpoint.transport, at))


@contextmanager
def bound(endpoints: Sequence[Endpoint]) -> Iterator[list[Bound]]:
    """Bind a socket for each address of each endpoint, until exit. Raises OSError."""
    with ExitStack() as stack:
        found = []
        for endpoint in endpoints:
            for one in _bind(endpoint):
                stack.callback(one.close)
                found.append(Bound(endpoint, one))
            if isinstance(endpoint.at, str):
                stack.callback(Path(endpoint.at).unlink, missing_ok=True)
        yield found


def placed(
    endpoints: Sequence[Endpoint], sockets: Sequence[socket.socket]
) -> list[tuple[int, socket.socket]]:
    """Bound sockets, each with the place of its endpoint. Raises OSError unless they fit together.

    Either there are none, or there is one for each endpoint and no other.
    """
    if not sockets:
        return []
    found = [(_place(endpoints, one), one) for one in sockets]
    missing = [str(one) for place, one in enumerate(endpoints) if place not in dict(found)]
    if missing:
        raise OSError(f"the socket unit has no socket for {', '.join(missing)}")
    for _, one in found:
        if one.type is socket.SOCK_DGRAM:
            _widen(one)
    return found


def _place(endpoints: Sequence[Endpoint], one: socket.socket) -> int:
    at = one.getsockname()
    for place, endpoint in enumerate(endpoints):
        if endpoint.transport.is_stream != (one.type is socket.SOCK_STREAM):
            continue
        if isinstance(endpoint.at, str):
            if endpoint.at == at:
                return place
        elif isinstance(at, tuple) and endpoint.at.port == at[1]:
            host = ipaddress.ip_address(at[0].partition("%")[0])
            if endpoint.at.host == str(host) or (
                endpoint.at.host in EVERYWHERE and host.is_unspecified
            ):
                return place
    raise OSError(f"the socket unit has {at}, which COLLECTOR_STATSD_LISTEN does not name")


def _bind(endpoint: Endpoint) -> list[socket.socket]:
    kind = socket.SOCK_STREAM if endpoint.transport.is_stream else socket.SOCK_DGRAM
    if isinstance(endpoint.at, str):
        made = [_bind_path(endpoint.at, kind)]
    else:
        (made,) = bind(endpoint.at, kind=kind)
    if kind is socket.SOCK_DGRAM:
        for one in made:
            _widen(one)
    return made


def _bind_path(path: str, kind: socket.SocketKind) -> socket.socket:
    """Bind a unix socket, replacing one that an earlier process left behind. Raises OSError."""
    made = socket.socket(socket.AF_UNIX, kind)
    try:
        if _is_left_behind(path, kind):
            Path(path).unlink(missing_ok=True)
        made.bind(path)
        Path(path).chmod(_MODE)
    except OSError as error:
        made.close()
        raise OSError(error.errno, f"cannot listen on unix:{path}: {error.strerror}") from error
    return made


def _is_left_behind(path: str, kind: socket.SocketKind) -> bool:
    """Whether a path is a socket that no process has open."""
    if Path(path).is_symlink() or not Path(path).is_socket():
        return False
    with socket.socket(socket.AF_UNIX, kind) as asking:
        # A socket of the other kind, which some process has open, gives another error.
        return asking.connect_ex(path) == errno.ECONNREFUSED


def _widen(one: socket.socket) -> None:
    """Request a large receive buffer; the kernel grants up to its configured limit."""
    if buffer_bytes(one) >= BUFFER_BYTES:
        # A socket unit has given it as much; asked again without its rights, it would shrink.
        return
    try:
        one.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
    except OSError:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)


def buffer_bytes(one: socket.socket) -> int:
    """Size of a socket's receive buffer in bytes, as the kernel counts it."""
    return one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


class Datagrams:
    """Reads a datagram socket."""

    def __init__(self, at: Bound, route: Route, clock: Callable[[], int]) -> None:
        self.socket = at.socket
        self._route = route
        self._clock = clock
        self.drops_seen = 0
        """The kernel's count of drops at the last call of `kernel_drops`."""
        self._path = at.endpoint.at if isinstance(at.endpoint.at, str) else None
        self.socket.setblocking(False)

    def read(self) -> bool:
        """Read at most `_MOST_AT_ONCE` waiting datagrams; return whether more may wait."""
        path = self._path
        only = self._route.only if path is None else self._route.of_path(path)
        return self._read_by_address() if only is None else self._read_from(only)

    def _read_from(self, source: Source) -> bool:
        receive, take, now = self.socket.recv, source.take, self._clock()
        with contextlib.suppress(BlockingIOError, InterruptedError):
            for _ in range(_MOST_AT_ONCE):
                datagram = receive(LONGEST)
                if len(datagram) < LONGEST:
                    take(datagram, now)
                else:
                    self._route.drop("too-long")
            return True
        return False

    def _read_by_address(self) -> bool:
        receive, of, now = self.socket.recvfrom, self._route.of_address, self._clock()
        with contextlib.suppress(BlockingIOError, InterruptedError):
            for _ in range(_MOST_AT_ONCE):
                datagram, address = receive(LONGEST)
                source = None if self._path is not None else of(address[0])
                if source is None:
                    self._route.drop("foreign-address")
                elif len(datagram) < LONGEST:
                    source.take(datagram, now)
                else:
                    self._route.drop("too-long")
            return True
        return False

    def kernel_drops(self) -> int:
        """Number of datagrams that the kernel dropped since the last call."""
        try:
            info = self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
            dropped = int(_MEMINFO.unpack(info)[_DROPS])
        except (OSError, struct.error):
            # A kernel before 4.12.
            return 0
        # The kernel's counter has 32 bits.
        new = (dropped - self.drops_seen) % (1 << 32)
        self.drops_seen = dropped
        return new


class Lines(asyncio.Protocol):
    """Reads lines from a connection."""

    def __init__(
        self, at: Bound, route: Route, clock: Callable[[], int], connections: set[Lines]
    ) -> None:
        self._at = at
        self._route = route
        self._clock = clock
        self._connections = connections
        self._source: Source | None = None
        self._transport: asyncio.BaseTransport | None = None
        self._rest = b""
        self.peer = ""
        """IP address of the peer, or the path of the unix socket."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close the connection if its address is unwanted or has too many connections."""
        self._transport = transport
        if isinstance(self._at.endpoint.at, str):
            self.peer = self._at.endpoint.at
            self._source = self._route.of_path(self.peer)
        elif address := transport.get_extra_info("peername"):
            self.peer = address[0]
            self._source = self._route.only or self._route.of_address(self.peer)
        if self._source is None:
            self._route.drop("foreign-address")
            transport.close()
        elif len(self._connections) >= MOST_CONNECTIONS or self._has_too_many():
            self._route.drop("connection-limit")
            self._source = None
            transport.close()
        else:
            self._connections.add(self)
            # A peer that vanished without closing must not occupy its place for ever.
            own = transport.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def _has_too_many(self) -> bool:
        return sum(one.peer == self.peer for one in self._connections) >= MOST_FROM_ONE

    def data_received(self, data: bytes) -> None:
        """Handle the complete lines."""
        if self._source is None:
            return
        if self._source.gone:
            self._route.drop("foreign-address")
            self._rest = b""
            self.close()
            return
        whole, newline, rest = data.rpartition(b"\n")
        if newline:
            now = self._clock()
            for line in (self._rest + whole).split(b"\n"):
                self._source.take(line, now)
            self._rest = rest
        else:
            self._rest += rest
        if len(self._rest) >= LONGEST:
            self._route.drop("too-long")
            self._rest = b""
            self.close()

    def eof_received(self) -> None:
        """Handle the last line, which needs no newline."""
        if self._source is not None and self._rest:
            self._source.take(self._rest, self._clock())
        self._rest = b""

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the line that a broken connection cut off: its end may be missing."""
        self._connections.discard(self)
        if self._rest:
            self._route.drop("cut-line")

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


@asynccontextmanager
async def receiving(
    sockets: Sequence[Bound],
    readers: Sequence[Datagrams],
    route: Route,
    clock: Callable[[], int],
) -> AsyncIterator[None]:
    """Receive on bound sockets from entry to exit; `readers` are those of datagram sockets.

    `clock` returns UTC in ns. At exit, the datagrams that wait in the sockets are handled too.
    """
    loop = asyncio.get_running_loop()
    connections: set[Lines] = set()
    async with AsyncExitStack() as stack:
        for reader in readers:
            loop.add_reader(reader.socket, reader.read)
            stack.callback(_end, loop, reader)
        for one in sockets:
            if not one.endpoint.transport.is_stream:
                continue
            make = partial(Lines, one, route, clock, connections)
            if one.endpoint.transport is Transport.TCP:
                server = await loop.create_server(make, sock=one.socket)
            else:
                server = await loop.create_unix_server(make, sock=one.socket, **_KEEP_FILE)
            stack.callback(server.close)
        try:
            yield
        finally:
            for connection in list(connections):
                connection.close()


def _end(loop: asyncio.AbstractEventLoop, reader: Datagrams) -> None:
    """Read all datagrams that wait in the socket, then stop reading."""
    loop.remove_reader(reader.socket)
    while reader.read():
        pass
