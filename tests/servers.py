"""Stops HTTP servers of tests whose clients may go on."""

from __future__ import annotations

import asyncio
from typing import Final, cast

from aiohttp import web

_PASSES: Final = 5
"""Passes of the event loop in which a connection that has been accepted gets its transport."""


async def stop(runner: web.AppRunner) -> None:
    """Stop a server; leave no socket to the garbage collector, which would fail a test."""
    loop = asyncio.get_running_loop()
    # Before Python 3.13, a connection that is being accepted while its server is closed is never
    # closed itself: the server first stops to accept, and closes when all accepted ones are open.
    for site in runner.sites:
        server = cast("web.TCPSite", site)._server  # noqa: SLF001 - has no public name
        for listening in cast("asyncio.Server", server).sockets:
            loop.remove_reader(listening.fileno())
    for _ in range(_PASSES):
        await asyncio.sleep(0)
    connections = [] if runner.server is None else runner.server.connections
    transports = [one.transport for one in connections if one.transport is not None]
    await runner.cleanup()
    # With TLS, a connection is closed once its client agrees, and one that has ended or is busy
    # does not.
    for transport in transports:
        transport.abort()
    await asyncio.sleep(0)
