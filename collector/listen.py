"""Listening sockets, and serving an application on them.

`[::]` and `*` mean all addresses of the machine, IPv4 and IPv6; `localhost` means 127.0.0.1 and
::1; any other name means all addresses that it resolves to. Each address family has its own socket,
so that an IPv4 peer never has an IPv6 address.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Final, cast

from aiohttp import hdrs, web

from collector.connections import Connection, Listener
from collector.fast_path import FAST_PATH, FastPath
from collector.problems import Reason, Refusal
from collector.setting_types import Address

_BACKLOG: Final = 1024
_SPARE_FILES: Final = 256
"""File descriptors for everything except client connections."""
_DRAIN_S: Final = 0.3
_PORT_TRIES: Final = 20
EVERYWHERE: Final = ("*", "::")
"""Hosts that mean every address of the machine."""
_NO_FAMILY: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""Errors on a machine without IPv6, or without IPv4."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_Endpoint = tuple[socket.AddressFamily, str]

_READING: Final = (hdrs.METH_GET, hdrs.METH_HEAD)

_NOWHERE: Final = Refusal(Reason.NOT_FOUND, "there is nothing at this address")
_EXPECTED: Final = Refusal(
    Reason.UNSUPPORTED_EXPECTATION, "the only supported expectation is 100-continue"
)


def bind(
    address: Address, count: int = 1, *, kind: socket.SocketKind = socket.SOCK_STREAM
) -> list[list[socket.socket]]:
    """Sockets bound to an address, a list for each of `count` processes.

    `kind` is SOCK_STREAM for TCP, SOCK_DGRAM for UDP. The kernel distributes connections between
    the processes. Port 0 gives all the same free port. Raises OSError.
    """
    tries = _PORT_TRIES if address.port == 0 else 1
    while True:
        tries -= 1
        try:
            return _bound(address, count, kind)
        except OSError as error:
            # A port that is free for the first address family may be in use for the second.
            if error.errno != errno.EADDRINUSE or not tries:
                raise


def _bound(address: Address, count: int, kind: socket.SocketKind) -> list[list[socket.socket]]:
    shares: list[list[socket.socket]] = [[] for _ in range(count)]
    port = address.port
    missing: OSError | None = None
    with ExitStack() as stack:
        for endpoint in _endpoints(address.host):
            try:
                if count > 1:
                    # SO_REUSEPORT alone would let a second collector of the same user take part of
                    # the connections without an error.
                    _socket(endpoint, port, kind, shared=False).close()
                for share in shares:
                    one = stack.enter_context(_socket(endpoint, port, kind, shared=count > 1))
                    share.append(one)
                    port = one.getsockname()[1]
            except OSError as error:
                if error.errno not in _NO_FAMILY:
                    raise
                missing = error
        if missing is not None and not all(shares):
            raise missing
        stack.pop_all()
    return shares


def _endpoints(host: str) -> list[_Endpoint]:
    """The addresses that a host name means. Raises OSError for an unknown name."""
    if host in EVERYWHERE:
        return [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]  # noqa: S104 - as asked
    if host == "localhost":
        # Many machines have only one of them in /etc/hosts.
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, str(at[0])) for family, _, _, _, at in found))


def _socket(
    endpoint: _Endpoint, port: int, kind: socket.SocketKind, *, shared: bool
) -> socket.socket:
    family, host = endpoint
    made = socket.socket(family, kind)
    try:
        if kind is socket.SOCK_STREAM:
            # With it, another program could take the datagrams of a UDP socket.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Only getaddrinfo parses a scope (`fe80::1%eth0`).
        made.bind(socket.getaddrinfo(host, port, family, kind)[0][4])
    except BaseException as error:
        made.close()
        if isinstance(error, OSError):
            shown = Address(host, port)
            raise OSError(error.errno, f"cannot listen on {shown}: {error.strerror}") from error
        raise
    return made


def accept(sockets: Sequence[socket.socket]) -> None:
    """Let the kernel queue connections from now on, before anything accepts them."""
    for one in sockets:
        one.listen(_BACKLOG)


@asynccontextmanager
async def listening(
    application: web.Application,
    address: Address,
    listener: Listener,
    *,
    bound: Sequence[socket.socket] = (),
    drain_s: float = _DRAIN_S,
) -> AsyncIterator[Address]:
    """Serve an application at an address, on the sockets `bound` if there are any.

    `drain_s` is the pause in s between closing the sockets and ending the connections, for requests
    in transit; 0 suits an address whose requests lose nothing. Yields the address with its actual
    port. Raises OSError.
    """
    sockets = bound or bind(address)[0]
    runner = web.AppRunner(application, handle_signals=False, shutdown_timeout=5)
    try:
        await runner.setup()
        # Not None after `setup`.
        server = cast("web.Server", runner.server)
        server.request_handler = _wrapped(server.request_handler, listener)
        _raise_file_limit(listener.limits.connections + _SPARE_FILES)
        sites = [_Site(runner, one, listener) for one in sockets]
        for site in sites:
            await site.start()
        yield Address(address.host, sockets[0].getsockname()[1])
        # No new connections are accepted; open ones may still send a request.
        for site in sites:
            await site.stop()
        await asyncio.sleep(drain_s)
    finally:
        await runner.cleanup()
        for one in sockets:
            one.close()


class _Site(web.BaseSite):
    """A listening socket with limits on its connections."""

    __slots__ = ("_listener", "_socket")

    def __init__(self, runner: web.AppRunner, bound: socket.socket, listener: Listener) -> None:
        super().__init__(runner, backlog=_BACKLOG)
        self._listener = listener
        self._socket = bound

    @property
    def name(self) -> str:
        """The address as HOST:PORT."""
        return str(Address(*self._socket.getsockname()[:2]))

    async def start(self) -> None:
        """Listen. Raises OSError."""
        await super().start()
        # Not None: the constructor checks it.
        loop, server = asyncio.get_running_loop(), cast("web.Server", self._runner.server)
        fast_path = cast("web.AppRunner", self._runner).app.get(FAST_PATH, FastPath())
        self._server = await loop.create_server(
            lambda: Connection(server, self._listener, loop, fast_path),
            sock=self._socket,
            backlog=self._backlog,
        )


def _wrapped(handler: Handler, listener: Listener) -> Handler:
    """A handler that applies the limits by kind of request, and sends errors as problem+json.

    Counts requests of senders that no route takes: a report is lost with each. Readers ask for many
    paths that do not exist.
    """

    async def handled(request: web.BaseRequest) -> web.StreamResponse:
        refusal = cast("Connection", request.protocol).enter(request.method)
        if refusal is not None:
            response = refusal.response()
            response.force_close()
            return response
        allowed = ""
        try:
            return await handler(request)
        except web.HTTPNotFound:
            refusal = _NOWHERE
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            refusal = Refusal(Reason.METHOD_NOT_ALLOWED, f"use {allowed} here")
        except web.HTTPExpectationFailed:
            refusal = _EXPECTED
        if request.method not in _READING:
            listener.refused(refusal)
        response = refusal.response()
        if allowed:
            response.headers[hdrs.ALLOW] = allowed
        return response

    return handled


def _raise_file_limit(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
