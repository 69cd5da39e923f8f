"""The text reports for ASL3-Usage's readers: to the column, and never older than the series."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import date
from pathlib import Path

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from collector.metrics import Metrics
from collector.public.reports import Reports
from collector.public.series import PublicSeries
from tests.conftest import Databases, StartServe
from tests.fleets import EPOCH, random_fleet
from tests.network import Network, influx_of, number_of
from tests.oracle import DAY, HOUR
from tests.sender import eventually, get
from tools.embedded import EmbeddedInflux

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes

CASES = Path(__file__).parent.parent / "cases" / "asl3-usage"
FIELDS = (
    *("nodes", "servers", "simpleusb", "usbradio", "dahdi", "voter"),
    *("asterisk_versions", "asl_versions"),
)
SAMPLE = {
    date(2026, 11, 21): (4221, 3490, 2908, 611, 121, 140, 9, 14),
    date(2026, 11, 20): (4210, 3480, 2900, 610, 120, 140, 9, 14),
}


@pytest.fixture
def network(databases: Databases) -> Network:
    made = Network(databases)
    made.create()
    return made


@pytest.fixture
async def series(databases: Databases) -> AsyncIterator[PublicSeries]:
    async with influx_of(databases) as influx:
        yield PublicSeries(influx)


async def text(aiohttp_client: AiohttpClient, series: PublicSeries, path: str) -> str:
    """The body of a report that is answered with 200 as plain text."""
    application = web.Application()
    application.add_routes(Reports(series).routes())
    client = await aiohttp_client(application)
    answer = await client.get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    return await answer.text()


def usage(day: date, fields: Mapping[str, int]) -> str:
    written = ",".join(f"{name}={value}i" for name, value in fields.items())
    return f"daily_usage {written} {number_of(day) * DAY}"


def table(day: date, dimension: str, counts: Mapping[str, int]) -> list[str]:
    return [
        f"daily_nodes,dimension={dimension},value={value},within=all,within_value=all"
        f" nodes={count}i {number_of(day) * DAY}"
        for value, count in counts.items()
    ]


def case(name: str) -> str:
    return (CASES / name).read_bytes().decode()


async def test_daily_report_equals_the_older_server_s_to_the_column(
    network: Network, series: PublicSeries, aiohttp_client: AiohttpClient
) -> None:
    network.publish(
        [usage(day, dict(zip(FIELDS, values, strict=True))) for day, values in SAMPLE.items()]
    )
    assert await text(aiohttp_client, series, "/reports/daily") == case("reports-daily.txt")


async def test_basic_report_equals_the_older_server_s_to_the_column(
    network: Network, series: PublicSeries, aiohttp_client: AiohttpClient
) -> None:
    day = date(2026, 11, 21)
    channels = {"unknown": 1, "voter": 1, "dahdi": 2, "usbradio": 1, "simpleusb": 4}
    network.publish(
        [
            usage(day, {"servers": 4, "nodes": 9, "final": 1}),
            *table(day, "arch", {"aarch64": 1, "x86_64": 8}),
            *table(day, "channel", channels),
        ]
    )
    assert await text(aiohttp_client, series, "/reports/basic") == case("reports-basic.txt")


async def test_a_count_that_may_not_be_shown_is_a_dash(
    network: Network, series: PublicSeries, aiohttp_client: AiohttpClient
) -> None:
    withheld = {"nodes": 3, "servers": 2, "asterisk_versions": 1, "asl_versions": 1}
    network.publish(
        [
            usage(date(2026, 3, 2), withheld),
            usage(date(2026, 3, 1), dict.fromkeys(FIELDS, 0)),
            usage(date(2019, 12, 31), {"nodes": 12345, "usbradio": 610, "imported": 1}),
        ]
    )
    assert await text(aiohttp_client, series, "/reports/daily") == case("own-reports-daily.txt")


async def test_basic_report_is_of_the_last_complete_day_with_every_value(
    network: Network, series: PublicSeries, aiohttp_client: AiohttpClient
) -> None:
    day, open_day = date(2026, 3, 1), date(2026, 3, 2)
    arches = {"other": 50, "unknown": 50, "i686": 45, "armv7l": 200, "aarch64": 4000}
    channels = {"other": 100, "local": 15, "usrp": 2300, "voter": 140, "simpleusb": 9000}
    network.publish(
        [
            usage(day, {"servers": 3480, "nodes": 12345, "final": 1}),
            *table(day, "arch", {**arches, "x86_64": 8000}),
            *table(day, "channel", {**channels, "usbradio": 610, "dahdi": 120, "unknown": 60}),
            usage(open_day, {"servers": 7, "nodes": 7, "final": 0}),
            *table(open_day, "arch", {"x86_64": 7}),
            # Only tables of the whole network are summed.
            "daily_nodes,dimension=arch,value=s390,within=distro,within_value=Debian nodes=5i"
            f" {number_of(day) * DAY}",
        ]
    )
    assert await text(aiohttp_client, series, "/reports/basic") == case("own-reports-basic.txt")


async def test_reports_of_an_empty_series_have_headings_and_no_rows(
    network: Network, series: PublicSeries, aiohttp_client: AiohttpClient
) -> None:
    network.publish(["hourly_usage reports=0i 0"])
    daily = case("reports-daily.txt").splitlines()
    assert await text(aiohttp_client, series, "/reports/daily") == "\n".join(
        [*daily[:3], daily[-1], ""]
    )
    assert (await text(aiohttp_client, series, "/reports/basic")).startswith(
        "    Distinct Servers:    0\n      Distinct Nodes:    0\n"
    )


async def test_a_report_shows_a_day_as_soon_as_the_rollup_has_stored_it(
    network: Network, series: PublicSeries, state_dir: Path, aiohttp_client: AiohttpClient
) -> None:
    received = random_fleet(5, days=2, servers=3)
    network.lay_received(received)
    now = EPOCH * DAY + 20 * HOUR
    async with network.rollup(state_dir) as rollup:
        assert await rollup.schedule(lambda: now, Metrics(), series.forget).once()
        before = await text(aiohttp_client, series, "/reports/daily")
        assert "2024-10-04" in before
        later = rollup.schedule(lambda: now + DAY, Metrics(), series.forget)
        assert await text(aiohttp_client, series, "/reports/daily") == before
        assert await later.once()
    assert "2024-10-05" in await text(aiohttp_client, series, "/reports/daily")


async def test_what_was_read_while_the_rollup_wrote_is_not_remembered(
    network: Network, series: PublicSeries
) -> None:
    network.publish([usage(date(2026, 3, 1), {"nodes": 1})])
    reading = asyncio.create_task(series.snapshot())
    await asyncio.sleep(0)
    series.forget()
    await reading
    network.publish([usage(date(2026, 3, 2), {"nodes": 2})])
    assert [day.fields["nodes"] for day in (await series.snapshot()).days] == [1, 2]


async def test_what_did_not_change_is_read_once(network: Network, series: PublicSeries) -> None:
    network.publish([usage(date(2026, 3, 1), {"nodes": 1})])
    assert await series.snapshot() is await series.snapshot()


def test_reports_are_unavailable_while_influxdb_is_away_and_come_back_with_it(
    own_influx: EmbeddedInflux, own_databases: Databases, serve: StartServe
) -> None:
    network = Network(own_databases)
    network.create()
    network.publish([usage(day, dict.fromkeys(FIELDS, 1)) for day in SAMPLE])
    own_influx.terminate()
    collector = serve(own_databases.environment)

    for path in ("/reports/daily", "/reports/basic"):
        answer = get(collector.url, path)
        assert answer.status == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.reason == "unavailable"
        assert int(answer.headers["retry-after"]) > 0

    own_influx.start()
    eventually(lambda: get(collector.url, "/reports/daily").status == 200)
    assert get(collector.url, "/reports/daily").body.count(b"2026-11-2") == 2


def test_the_dump_of_identities_is_gone_with_its_reason(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment)
    answer = get(collector.url, "/reports/dump")
    assert answer.status == 410
    assert answer.reason == "gone"
    assert "identities" in answer.json["detail"]
