"""What fails for a passing reason is tried again, in commands too; what is wrong is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import polars as pl
import pytest
from aiohttp import web

from collector.influx import Influx, InfluxError, InfluxUnavailable, Select, read
from collector.influx.client import Written
from collector.influx.databases import ensure
from collector.influx.frames import Rows, read_frame
from collector.influx.retry import PAUSES_S, retrying
from tests.command import command
from tests.conftest import Databases
from tests.network import influx_of
from tests.servers import stop

LINE = b"server_report,arch=x nodes=1i 10"
ASKED = Select("usage_raw", "server_report", ["nodes"], counted="nodes")


class Failing:
    """Between a client and a real InfluxDB; requests that hold `only` fail as `left` says."""

    def __init__(self, target: str, only: str = "server_report") -> None:
        self.target = target
        self.only = only
        self.left: list[tuple[int, Any]] = []
        self.asked = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        async with aiohttp.ClientSession() as self._session:
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                yield f"http://127.0.0.1:{runner.addresses[0][1]}"
            finally:
                await stop(runner)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if self.only in request.path + body.decode():
            self.asked += 1
            if self.left:
                status, said = self.left.pop(0)
                if status == 0:
                    assert request.transport is not None
                    request.transport.abort()
                return web.json_response(said, status=status or 500)
        async with self._session.request(
            request.method, f"{self.target}{request.path_qs}", data=body, headers=request.headers
        ) as answer:
            kept = {n: v for n, v in answer.headers.items() if n.startswith("X-Influxdb")}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)


ENGINE_1: Final[tuple[int, Any]] = (
    200,
    {"results": [{"statement_id": 0, "error": "engine is closed"}]},
)
ENGINE_2: Final[tuple[int, Any]] = (500, {"code": "internal error", "message": "engine is closed"})
FULL = "max-concurrent-queries limit exceeded(1, 1)"
BUSY: Final[tuple[int, Any]] = (200, {"results": [{"statement_id": 0, "error": FULL}]})
RESET: Final[tuple[int, Any]] = (0, {})
AWAY: Final[tuple[int, Any]] = (503, {"error": "unavailable"})
WRONG: Final[tuple[int, Any]] = (400, {"error": "error parsing query: found EOF"})


async def test_passing_errors_are_tried_again_in_json_and_in_csv(databases: Databases) -> None:
    async with influx_of(databases) as influx:
        await ensure(influx, {"usage_raw": 0})
        assert await influx.write("usage_raw", LINE) == Written()
    way = Failing(databases.server.url)
    async with way.open() as url, Influx(url, prefix=databases.prefix) as influx:
        for failure in (ENGINE_1, ENGINE_2, BUSY, RESET, AWAY):
            way.left = [failure, failure]
            (series,) = await read(influx, ASKED)
            assert series.values == [[10, 1]]
            way.left = [failure]
            frame = await read_frame(influx, ASKED, lambda: Rows({"nodes": pl.Int64()}))
            assert frame.height == 1, failure
            assert not way.left


async def test_an_error_that_stays_is_raised_and_a_wrong_statement_is_asked_once(
    databases: Databases,
) -> None:
    async with influx_of(databases) as influx:
        await ensure(influx, {"usage_raw": 0})
    way = Failing(databases.server.url)
    async with way.open() as url, Influx(url, prefix=databases.prefix) as influx:
        way.left = [ENGINE_2] * 9
        with pytest.raises(InfluxUnavailable, match="engine is closed"):
            await read(influx, ASKED)
        assert way.asked == 1 + len(PAUSES_S)
        way.left, way.asked = [WRONG] * 9, 0
        with pytest.raises(InfluxError, match="error parsing query"):
            await read(influx, ASKED)
        assert way.asked == 1


async def test_a_timeout_is_not_asked_for_again() -> None:
    tries = 0

    async def slow() -> None:
        nonlocal tries
        tries += 1
        raise InfluxUnavailable("silent") from TimeoutError()

    with pytest.raises(InfluxUnavailable):
        await retrying(slow)
    assert tries == 1


async def test_command_goes_on_where_its_first_request_fails_for_a_moment(
    databases: Databases, tmp_path: Path
) -> None:
    async with influx_of(databases) as influx:
        await ensure(influx, {"usage_raw": 0, "usage_daily": 0, "usage_owners": 0})
        assert await influx.write("usage_raw", LINE) == Written()
    environment = databases.environment | {"COLLECTOR_STATE_DIR": str(tmp_path / "state")}
    for only in ("/ping", "server_report"):
        way = Failing(databases.server.url, only)
        async with way.open() as url:
            way.left = [RESET, AWAY, ENGINE_2][: 2 if only == "/ping" else 3]
            settings = environment | {"COLLECTOR_INFLUX_URL": url}
            done = await asyncio.to_thread(command, settings, "retention", "show")
        assert done.code == 0, done.err
        assert not way.left
