"""A server that only reads the body and answers 200: what aiohttp with uvloop can do at most."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web

_ANSWER = b'{"status":"accepted","nodes":1,"ignored":{}}\n'


async def _receive(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=_ANSWER, content_type="application/json")


async def serve(*routes: web.RouteDef) -> None:
    """Serve routes on a free port, printed to standard output, until standard input ends."""
    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(serve(web.post("/usage", _receive)))
