"""Downloads come from memory until the rollup writes, and are then read again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from collector.influx import Influx
from collector.public.downloads import Downloads
from collector.public.series import PublicSeries
from collector.schema import DAILY
from tests.conftest import Databases
from tests.network import Network, influx_of, number_of
from tests.oracle import DAY

FIRST = date(2026, 3, 20)
DAYS = [FIRST + timedelta(days=n) for n in range(20)]

Client = TestClient[web.Request, web.Application]


@pytest.fixture(autouse=True)
def network(databases: Databases) -> Network:
    made = Network(databases)
    made.create()
    for day in DAYS:
        made.publish(published(day, 8))
    return made


@pytest.fixture
async def influx(databases: Databases) -> AsyncIterator[Influx]:
    async with influx_of(databases) as made:
        yield made


@pytest.fixture
def series(influx: Influx) -> PublicSeries:
    return PublicSeries(influx)


@pytest.fixture
async def client(influx: Influx, series: PublicSeries, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(site(influx, series))


def site(influx: Influx, series: PublicSeries) -> web.Application:
    application = web.Application()
    application.add_routes(Downloads(influx, series, retention_s=0, k=5).routes())
    return application


def published(day: date, nodes: int) -> list[str]:
    at = number_of(day) * DAY
    return [
        f"daily_usage nodes={nodes}i,final=1i {at}",
        f"daily_nodes,dimension=arch,value=x86_64,within=all,within_value=all nodes={nodes}i {at}",
    ]


async def body(client: Client, path: str, *, zipped: bool = True) -> str:
    answer = await client.get(path, headers={"Accept-Encoding": "gzip" if zipped else "identity"})
    assert answer.status == 200
    return await answer.text()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("form", ["csv", "json"])
async def test_download_asked_for_again_is_not_read_again_until_the_rollup_writes(
    network: Network,
    influx: Influx,
    series: PublicSeries,
    client: Client,
    form: str,
    *,
    zipped: bool,
) -> None:
    path = f"/v1/daily/nodes.{form}"
    first = await body(client, path, zipped=zipped)
    assert first.count("x86_64") == len(DAYS)
    # Gone behind its back: who read it again would see that.
    await influx.query(DAILY, 'DROP MEASUREMENT "daily_nodes"')
    assert await body(client, path, zipped=zipped) == first
    assert await body(client, path, zipped=not zipped) == first
    # The rollup writes a day anew, and says so.
    network.publish(published(DAYS[-1], 9))
    series.forget()
    again = await body(client, path, zipped=zipped)
    assert again.count("x86_64") == 1
    assert await body(client, path, zipped=not zipped) == again


async def test_months_that_were_read_serve_every_span_of_whole_months(
    influx: Influx, client: Client
) -> None:
    whole = await body(client, "/v1/daily/nodes.csv")
    await influx.query(DAILY, 'DROP MEASUREMENT "daily_nodes"')
    april = await body(client, "/v1/daily/nodes.csv?from=2026-04-01")
    heading, *rows = whole.splitlines()
    assert april.splitlines() == [heading, *(row for row in rows if row.startswith("2026-04"))]
    # Other rows are no part of what was kept.
    assert len((await body(client, "/v1/daily/nodes.csv?dimension=arch")).splitlines()) == 1


async def test_look_for_other_collectors_drops_nothing_unless_the_series_has_changed(
    network: Network, influx: Influx, aiohttp_client: AiohttpClient
) -> None:
    series = PublicSeries(influx, memory_s=0.0)
    client = await aiohttp_client(site(influx, series))
    path = "/v1/daily/nodes.csv?to=2026-03-31"
    first = await body(client, path)
    was = await series.snapshot()
    await influx.delete(DAILY, "daily_nodes", f"time = {number_of(FIRST) * DAY}")
    assert await series.snapshot() is was
    assert await body(client, path) == first
    network.publish(published(DAYS[-1], 9))
    assert (await series.snapshot()).revision != was.revision
    assert str(FIRST) not in await body(client, path)
