"""A server that acknowledges each write as InfluxDB does, and stores nothing.

With it in InfluxDB's place, a collector has its cores to itself, as where InfluxDB runs elsewhere.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web

_VERSION = {"X-Influxdb-Version": "1.6.7"}


async def _write(request: web.Request) -> web.Response:
    async for _ in request.content.iter_any():
        pass
    return web.Response(status=204, headers=_VERSION)


async def _query(_request: web.Request) -> web.Response:
    return web.json_response({"results": [{"statement_id": 0}]}, headers=_VERSION)


async def main() -> None:
    """Serve on a free port, printed to standard output, until standard input ends."""
    application = web.Application()
    application.add_routes(
        [web.post("/write", _write), web.route("*", "/query", _query), web.get("/ping", _write)]
    )
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(main())
