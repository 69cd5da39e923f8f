"""A read of rows is whole or it is an error, whatever cuts InfluxDB's answer."""

from __future__ import annotations

import http.client
import re
import urllib.parse
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import polars as pl
import pytest

from collector.influx import (
    CutShort,
    Influx,
    InfluxError,
    InfluxUnavailable,
    NoDatabase,
    Select,
    read,
    read_each,
)
from collector.influx.client import Written
from collector.influx.databases import ensure
from collector.influx.errors import failure
from collector.influx.frames import Rows, read_frame
from collector.influx.reading import stream_csv
from collector.influx.responses import parse_response
from tests.cut_short import CSV_CUTS, JSON_CUTS, Cut, CuttingProxy, csv_cut
from tools.embedded import EmbeddedInflux

MANY = 60_000
FEW = Select("usage_raw", "m", ["f", "t"], "time < 100", counted="f")
GROUPED = Select("usage_raw", "m", ["f"], "time < 100", "GROUP BY *", counted="f")
ALL = Select("usage_raw", "m", ["f", "t"], counted="f")


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedInflux]:
    """An InfluxDB with a day of many rows, to be restarted with limits."""
    influx = EmbeddedInflux(tmp_path_factory.mktemp("limited"))
    influx.start()
    yield influx
    influx.kill()


@asynccontextmanager
async def filled(server: EmbeddedInflux, **limits: str) -> AsyncIterator[Influx]:
    """The server with these limits and many rows in it."""
    async with Influx(server.url) as influx:
        if await ensure(influx, {"usage_raw": 0}):
            for first in range(0, MANY, 10_000):
                lines = (
                    b'm,t=a%d f="%016x" %d' % (n % 20, n, n) for n in range(first, first + 10_000)
                )
                assert await influx.write("usage_raw", b"\n".join(lines)) == Written()
    server.overrides = {f"INFLUXDB_{name.upper()}": value for name, value in limits.items()}
    server.restart()
    async with Influx(server.url) as influx:
        yield influx


def bare_csv(server: EmbeddedInflux) -> int:
    """Rows that a client gets which looks at nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    form = {"q": "SELECT f, t FROM m", "db": "usage_raw", "chunked": "true", "chunk_size": "20000"}
    headers = {
        "Accept": "application/csv",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    connection.request("POST", "/query", urllib.parse.urlencode(form), headers)
    answer = connection.getresponse()
    assert answer.status == 200
    rows = answer.read().count(b"\n") - 1
    connection.close()
    return rows


async def frame_of(influx: Influx, select: Select, least: int | None = None) -> pl.DataFrame:
    types = dict.fromkeys(("f", "t"), pl.String())
    return await read_frame(influx, select, lambda: Rows(types), least)


async def test_day_that_a_query_timeout_cuts_is_an_error(limited: EmbeddedInflux) -> None:
    async with filled(limited, coordinator_query_timeout="20ms") as influx:
        # What the server does with this limit, so that the test can fail.
        assert bare_csv(limited) < MANY
        with pytest.raises(CutShort):
            await frame_of(influx, ALL)
        with pytest.raises(CutShort):
            await read(influx, ALL)


async def test_query_over_a_limit_is_an_error_in_influxdbs_words(limited: EmbeddedInflux) -> None:
    by_time = Select(
        "usage_raw", "m", ["count(f)"], "time >= 0 AND time < 60000", "GROUP BY time(1u)"
    )
    for limit, select in (("series", ALL), ("buckets", by_time)):
        words = f"max-select-{limit} limit exceeded"
        async with filled(limited, **{f"coordinator_max_select_{limit}": "5"}) as influx:
            with pytest.raises(CutShort, match=words):
                await read(influx, select)
            if select is ALL:
                # Its CSV is empty, with HTTP 200.
                with pytest.raises(CutShort, match=words):
                    await frame_of(influx, select)


async def test_selects_in_one_request_are_whole_or_one_error(limited: EmbeddedInflux) -> None:
    none = Select("usage_raw", "nothing", ["f"])
    async with filled(limited) as influx:
        few, nothing, grouped, every = await read_each(influx, [FEW, none, GROUPED, ALL])
        assert (few, nothing) == (await read(influx, FEW), [])
        assert grouped == await read(influx, GROUPED)
        assert [len(series.values) for series in every] == [MANY]
    async with filled(limited, coordinator_max_select_series="5") as influx:
        one = Select("usage_raw", "m", ["f"], "t = 'a1' AND time < 100", counted="f")
        assert await read_each(influx, [one, none])
        for selects in ([one, ALL], [ALL, one], [one, ALL, one]):
            with pytest.raises(CutShort, match="max-select-series limit exceeded"):
                await read_each(influx, selects)


async def test_row_limit_cuts_nothing(limited: EmbeddedInflux) -> None:
    async with filled(limited, http_max_row_limit="50") as influx:
        assert (await frame_of(influx, ALL)).height == MANY
        found = await read(influx, Select("usage_raw", "m", ["f"], "", "GROUP BY *", counted="f"))
        assert [len(series.values) for series in found] == [MANY // 20] * 20
        assert len((await read(influx, ALL))[0].values) == MANY


@pytest.mark.parametrize("name", CSV_CUTS)
async def test_csv_that_is_cut_on_its_way_is_an_error(limited: EmbeddedInflux, name: str) -> None:
    proxy = CuttingProxy(limited.url, csv=CSV_CUTS[name])
    async with filled(limited), proxy.open(), Influx(proxy.url) as influx:
        assert (await frame_of(influx, FEW)).height == 100
        proxy.cutting = True
        with pytest.raises(CutShort):
            await frame_of(influx, FEW)
        with pytest.raises(CutShort):
            [piece async for piece in stream_csv(influx, ALL)]
        # Asked for twice, and given up; of an empty answer, JSON is asked why.
        assert proxy.cuts == (6 if name == "empty" else 3)
        proxy.cutting = False
        assert (await frame_of(influx, FEW)).height == 100


async def test_rows_are_checked_against_a_count_made_before(limited: EmbeddedInflux) -> None:
    proxy = CuttingProxy(limited.url)
    async with filled(limited), proxy.open(), Influx(proxy.url) as influx:
        assert (await frame_of(influx, FEW, 100)).height == 100
        # Some were deleted after they were counted: InfluxDB counts again.
        assert (await frame_of(influx, FEW, 101)).height == 100
        proxy.cutting = True
        for cut in CSV_CUTS.values():
            proxy.csv = cut
            with pytest.raises(CutShort):
                await frame_of(influx, FEW, 100)


@pytest.mark.parametrize("name", JSON_CUTS)
async def test_json_that_is_cut_on_its_way_is_an_error(limited: EmbeddedInflux, name: str) -> None:
    proxy = CuttingProxy(limited.url, json=JSON_CUTS[name])
    async with filled(limited), proxy.open(), Influx(proxy.url) as influx:
        for select in (FEW, GROUPED):
            whole = await read(influx, select)
            assert sum(len(series.values) for series in whole) == 100
            proxy.cutting = True
            with pytest.raises(CutShort):
                await read(influx, select)
            proxy.cutting = False
            assert await read(influx, select) == whole


async def test_answer_that_is_cut_once_is_read_at_the_second_try(limited: EmbeddedInflux) -> None:
    once: list[Cut] = [csv_cut]

    def cut(body: bytes) -> bytes:
        return once.pop()(body) if once else body

    proxy = CuttingProxy(limited.url, csv=cut, cutting=True)
    async with filled(limited), proxy.open(), Influx(proxy.url) as influx:
        assert (await frame_of(influx, FEW)).height == 100

    assert not once


async def test_nothing_is_told_from_what_is_not_there(limited: EmbeddedInflux) -> None:
    none = Select("usage_raw", "no_such_measurement", ["f"], counted="f")
    gone = Select("no_such_database", "m", ["f"], counted="f")
    async with filled(limited) as influx:
        assert (await frame_of(influx, FEW)).height == 100
        assert [piece async for piece in stream_csv(influx, none)] == []
        assert await read(influx, none) == []
        for reading in (read(influx, gone), frame_of(influx, gone)):
            with pytest.raises(NoDatabase, match="database not found"):
                await reading
        await influx.query(None, "DROP DATABASE usage_raw")
        # It was there a moment ago, and InfluxDB's CSV says nothing of it.
        with pytest.raises(NoDatabase):
            await frame_of(influx, FEW)
        # A database without a point is empty, not gone.
        await ensure(influx, {"usage_raw": 0})
        assert (await frame_of(influx, FEW)).height == 0
        assert await read(influx, FEW) == []


def test_series_in_several_documents_is_put_together() -> None:
    body = (
        b'{"results":[{"statement_id":0,"series":[{"name":"m","columns":["time","f"],'
        b'"values":[[1,2]],"partial":true}],"partial":true}]}\n'
        b'{"results":[{"statement_id":0,"series":[{"name":"m","columns":["time","f"],'
        b'"values":[[3,4]]}]}]}\n{"results":[{"statement_id":1}]}'
    )
    (series,), nothing = parse_response(body)
    assert (series.values, nothing) == ([[1, 2], [3, 4]], [])


def test_answer_that_is_not_influxdbs_is_an_error() -> None:
    for body in (
        b"",
        b"{",
        b'{"results":[{"statement',
        b"<html>",
        b"[]",
        b'{"a":1}',
        b"7",
        b"\xff",
    ):
        with pytest.raises(InfluxError, match="not InfluxDB's"):
            parse_response(body)


def test_answer_that_announces_more_and_ends_is_cut_short() -> None:
    with pytest.raises(CutShort):
        parse_response(b'{"results":[{"statement_id":0,"series":[],"partial":true}]}')


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [
        ("engine is closed", 500, InfluxUnavailable),
        ("engine is closed", None, InfluxUnavailable),
        ("max-concurrent-queries limit exceeded(5, 5)", None, InfluxUnavailable),
        ("unavailable", 503, InfluxUnavailable),
        ("slow down", 429, InfluxUnavailable),
        ("query-timeout limit exceeded", None, CutShort),
        ("not executed", None, CutShort),
        ("database not found: usage_raw", None, NoDatabase),
        ("no dbrp mapping found", 404, NoDatabase),
        ("unauthorized", 401, InfluxError),
        ("error parsing query: found EOF", 400, InfluxError),
        ("failed to parse query: found EOF", 400, InfluxError),
    ],
)
def test_errors_of_both_versions_are_told_apart(
    words: str, status: int | None, kind: type[InfluxError]
) -> None:
    assert type(failure(words, status)) is kind


def test_only_one_module_asks_for_rows() -> None:
    asking = re.compile(r"[\"']SELECT ")
    found = set()
    for path in Path("collector").rglob("*.py"):
        text = path.read_text()
        # SQL for SQLite or MariaDB is in modules that know no InfluxDB.
        if asking.search(text) and "collector.influx" in text:
            found.add(str(path))
    # `policies` looks for the policy that is to be read.
    assert found == {"collector/influx/reading.py", "collector/influx/policies.py"}
