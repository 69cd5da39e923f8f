"""A proxy in front of InfluxDB with faults that a test sets."""

from __future__ import annotations

import asyncio
import io
import random
import ssl
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

import aiohttp
from aiohttp import web

from tests.servers import stop
from tools.embedded import free_port

GZIP = 16 + zlib.MAX_WBITS
_PASSED_ON = ("Content-Encoding", "Content-Type", "Authorization", "Accept", "Accept-Encoding")

Fault = Callable[["FaultyProxy", web.Request, bytes], Awaitable[web.StreamResponse]]
"""A function that answers a request, given its raw body."""


@dataclass
class FaultyProxy:
    """A proxy between a collector and a real InfluxDB at `target`.

    `fault` answers its writes, `query_fault` its queries. With `tls` it listens for https:// only.
    """

    target: str
    fault: Fault | None = None
    query_fault: Fault | None = None
    tls: ssl.SSLContext | None = None
    port: int = field(default_factory=free_port)
    met: Counter[str] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(application, auto_decompress=False, shutdown_timeout=0.1)
        await runner.setup()
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            try:
                await web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self.tls).start()
                yield self
            finally:
                await stop(runner)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if self.fault is not None and request.path == "/write":
            return await self.fault(self, request, body)
        self.met["queries"] += request.path == "/query"
        if self.query_fault is not None and request.path == "/query":
            return await self.query_fault(self, request, body)
        return await self.forward(request, body)

    async def forward(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """Forward a request with a body of any size; answer 502 if InfluxDB does not answer."""
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        try:
            async with self._session.request(
                request.method,
                f"{self.target}{request.path_qs}",
                # aiohttp warns about raw bytes over 1 MiB, and tests treat warnings as errors.
                data=io.BytesIO(body),
                headers=headers,
            ) as answer:
                passed = {
                    name: value
                    for name, value in answer.headers.items()
                    if name.startswith("X-Influxdb") or name in ("Content-Type", "Content-Encoding")
                }
                answered = self.altered(request, body, await answer.read())
                return web.Response(status=answer.status, body=answered, headers=passed)
        except aiohttp.ClientError:
            return web.Response(status=502)

    def altered(self, request: web.Request, body: bytes, answer: bytes) -> bytes:
        """The body that answers a forwarded request; InfluxDB's own unless a subclass alters it."""
        return answer


def slow(seconds: float) -> Fault:
    """A fault that delays each write, and forwards it."""

    async def fault(proxy: FaultyProxy, request: web.Request, body: bytes) -> web.StreamResponse:
        proxy.met["slow"] += 1
        await asyncio.sleep(seconds)
        return await proxy.forward(request, body)

    return fault


async def hanging(proxy: FaultyProxy, _request: web.Request, _body: bytes) -> web.StreamResponse:
    """A fault that accepts a request, and does not answer it while the fault lasts."""
    proxy.met["hanging"] += 1
    while hanging in (proxy.fault, proxy.query_fault):  # noqa: ASYNC110 - a test changes it from outside
        await asyncio.sleep(0.05)
    return web.Response(status=504)


def at_random(chance: random.Random, *, well: float = 0.3) -> Fault:
    """A random fault: 500, 503, 429; written, then cut off or 500; or written in part."""

    async def fault(proxy: FaultyProxy, request: web.Request, body: bytes) -> web.StreamResponse:
        if chance.random() < well:
            proxy.met["well"] += 1
            return await proxy.forward(request, body)
        kind = chance.choice(("500", "503", "429", "cut", "late", "part"))
        proxy.met[kind] += 1
        if kind == "429":
            return web.json_response(
                {"error": "too busy"}, status=429, headers={"Retry-After": "1"}
            )
        if kind in ("500", "503"):
            return web.json_response({"error": "injected"}, status=int(kind))
        if kind == "part":
            return await _in_part(proxy, request, body)
        await proxy.forward(request, body)
        if kind == "cut" and request.transport is not None:
            request.transport.abort()
        return web.json_response({"error": "timeout"}, status=500)

    return fault


async def _in_part(proxy: FaultyProxy, request: web.Request, body: bytes) -> web.StreamResponse:
    """A fault that writes the first half of the lines and answers like InfluxDB 1.x then."""
    compressed = request.headers.get("Content-Encoding") == "gzip"
    lines = (zlib.decompress(body, wbits=GZIP) if compressed else body).split(b"\n")
    if len(lines) == 1:
        return await proxy.forward(request, body)
    kept, dropped = lines[: len(lines) // 2], len(lines) - len(lines) // 2
    packer = zlib.compressobj(wbits=GZIP)
    part = b"\n".join(kept)
    if compressed:
        part = packer.compress(part) + packer.flush()
    await proxy.forward(request, part)
    words = f"partial write: injected dropped={dropped}"
    return web.json_response({"error": words}, status=400)
