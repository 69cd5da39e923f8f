"""The chaos suite's proxy hands on bodies of any size."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from tests.faulty import Fault, FaultyProxy, at_random, slow
from tests.sender import GUARD_S
from tests.servers import stop
from tools.embedded import free_port

LINE = b"m f=1 1"
BODY = b"\n".join([LINE] * (2 << 17))
"""2 MiB, as of a backlog that goes uncompressed."""


@asynccontextmanager
async def target() -> AsyncIterator[tuple[str, list[int]]]:
    """An HTTP server that takes every write; its URL and the sizes of what it got."""
    got: list[int] = []

    async def take(request: web.Request) -> web.Response:
        got.append(len(await request.read()))
        return web.Response(status=204)

    application = web.Application(client_max_size=1 << 30)
    application.router.add_post("/write", take)
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}", got
    finally:
        await stop(runner)


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    yield body


@pytest.mark.parametrize("fault", [None, slow(0.0), at_random(random.Random(1), well=1.0)])
async def test_proxy_forwards_a_body_of_any_size(fault: Fault | None) -> None:
    async with target() as (url, got), FaultyProxy(url, fault).open() as proxy:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=GUARD_S)) as session,
            session.post(f"{proxy.url}/write", data=in_pieces(BODY)) as answer,
        ):
            assert answer.status == 204
        assert got == [len(BODY)]
