"""Listening sockets of an address, and an application that is served on them.

One process and several listen in the same way: `[::]` and `*` are all addresses of the machine,
IPv4 and IPv6; `localhost` is 127.0.0.1 and ::1; any other name is all addresses that it resolves
to. Each family has a socket of its own, so that an IPv4 peer never shows as an IPv6 one.
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
from collector.fast import FAST_PATH, FastPath
from collector.problems import Reason, Refusal
from collector.settings import Address

_BACKLOG: Final = 1024
_SPARE_FILES: Final = 256
"""Descriptors for everything that is no connection from outside."""
_LAST_WORDS_S: Final = 0.3
_PORT_TRIES: Final = 20
_EVERYWHERE: Final = ("*", "::")
_NO_FAMILY: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""Errors of a machine that has no IPv6, or no IPv4."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_Endpoint = tuple[socket.AddressFamily, str]

_EXPECTED: Final = Refusal(Reason.UNSUPPORTED_EXPECTATION, "expect 100-continue, or nothing")


def bind(address: Address, count: int = 1) -> list[list[socket.socket]]:
    """Sockets bound to an address, for each of `count` processes; the kernel shares out between.

    With port 0 all have the same free port. Raises OSError.
    """
    tries = _PORT_TRIES if address.port == 0 else 1
    while True:
        tries -= 1
        try:
            return _bound(address, count)
        except OSError as error:
            # A port that was free for the first family may be in use for the second.
            if error.errno != errno.EADDRINUSE or not tries:
                raise


def _bound(address: Address, count: int) -> list[list[socket.socket]]:
    shares: list[list[socket.socket]] = [[] for _ in range(count)]
    port = address.port
    missing: OSError | None = None
    with ExitStack() as stack:
        for endpoint in _endpoints(address.host):
            try:
                if count > 1:
                    # With SO_REUSEPORT alone, a second collector of this user would take a part of
                    # the connections unnoticed.
                    _socket(endpoint, port, shared=False).close()
                for share in shares:
                    one = stack.enter_context(_socket(endpoint, port, shared=count > 1))
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
    """The addresses that a host stands for. Raises OSError (no such name)."""
    if host in _EVERYWHERE:
        return [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]  # noqa: S104 - as asked
    if host == "localhost":
        # Many machines name only one of them in /etc/hosts.
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, str(at[0])) for family, _, _, _, at in found))


def _socket(endpoint: _Endpoint, port: int, *, shared: bool) -> socket.socket:
    family, host = endpoint
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # A scope (`fe80::1%eth0`) is understood by getaddrinfo alone.
        made.bind(socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4])
    except BaseException as error:
        made.close()
        if isinstance(error, OSError):
            shown = Address(host, port)
            raise OSError(error.errno, f"cannot listen on {shown}: {error.strerror}") from error
        raise
    return made


def accept(sockets: Sequence[socket.socket]) -> None:
    """Have the kernel take connections from now on, though nobody accepts them yet."""
    for one in sockets:
        one.listen(_BACKLOG)


@asynccontextmanager
async def listening(
    application: web.Application,
    address: Address,
    listener: Listener,
    *,
    bound: Sequence[socket.socket] = (),
) -> AsyncIterator[Address]:
    """Serve an application at an address, on sockets where some are bound to it already.

    Yields the address with the port that it has. Raises OSError.
    """
    sockets = bound or bind(address)[0]
    runner = web.AppRunner(application, handle_signals=False, shutdown_timeout=5)
    try:
        await runner.setup()
        # The runner has one once it is set up.
        server = cast("web.Server", runner.server)
        server.request_handler = _worded(server.request_handler)
        _raise_file_limit(listener.limits.connections + _SPARE_FILES)
        sites = [_Site(runner, one, listener) for one in sockets]
        for site in sites:
            await site.start()
        yield Address(address.host, sockets[0].getsockname()[1])
        # Nobody new is let in; who was, has a moment to say what for.
        for site in sites:
            await site.stop()
        await asyncio.sleep(_LAST_WORDS_S)
    finally:
        await runner.cleanup()
        for one in sockets:
            one.close()


class _Site(web.BaseSite):
    """A listening socket whose connections are within limits."""

    __slots__ = ("_listener", "_socket")

    def __init__(self, runner: web.AppRunner, bound: socket.socket, listener: Listener) -> None:
        super().__init__(runner, backlog=_BACKLOG)
        self._listener = listener
        self._socket = bound

    @property
    def name(self) -> str:
        """The address, for a person."""
        return str(Address(*self._socket.getsockname()[:2]))

    async def start(self) -> None:
        """Listen. Raises OSError."""
        await super().start()
        # The runner has one: the constructor insists.
        loop, server = asyncio.get_running_loop(), cast("web.Server", self._runner.server)
        fast_path = cast("web.AppRunner", self._runner).app.get(FAST_PATH, FastPath())
        self._server = await loop.create_server(
            lambda: Connection(server, self._listener, loop, fast_path),
            sock=self._socket,
            backlog=self._backlog,
        )


def _worded(handler: Handler) -> Handler:
    """The same handler within its kind's share, and with aiohttp's refusals in our form."""

    async def handled(request: web.BaseRequest) -> web.StreamResponse:
        refusal = cast("Connection", request.protocol).enter(request.method)
        if refusal is not None:
            response = refusal.response()
            response.force_close()
            return response
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return Refusal(Reason.NOT_FOUND, "there is nothing at this address").response()
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            response = Refusal(Reason.METHOD_NOT_ALLOWED, f"use {allowed} here").response()
            response.headers[hdrs.ALLOW] = allowed
            return response
        except web.HTTPExpectationFailed:
            return _EXPECTED.response()

    return handled


def _raise_file_limit(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
