"""A server that acknowledges each write as InfluxDB does, and stores nothing.

With it in InfluxDB's place, a collector has its cores to itself, as where InfluxDB runs elsewhere.
"""

from __future__ import annotations

import uvloop
from aiohttp import web

from bench.bare import serve

_VERSION = {"X-Influxdb-Version": "1.6.7"}


async def _write(request: web.Request) -> web.Response:
    async for _ in request.content.iter_any():
        pass
    return web.Response(status=204, headers=_VERSION)


async def _query(_request: web.Request) -> web.Response:
    return web.json_response({"results": [{"statement_id": 0}]}, headers=_VERSION)


if __name__ == "__main__":
    uvloop.run(
        serve(
            web.post("/write", _write), web.route("*", "/query", _query), web.get("/ping", _write)
        )
    )
