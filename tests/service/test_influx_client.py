"""The client of InfluxDB, with a real one and with servers that only look like it."""

from __future__ import annotations

import pytest

from collector.influx import Influx, InfluxError, InfluxUnavailable, Select, read, string
from collector.influx.client import Denied, Rejected, TooLarge, Unavailable, WriteResult, Written
from collector.influx.databases import ensure
from collector.influx.reading import stream_csv
from tests.conftest import Databases
from tests.network import influx_of
from tests.service.upstream import Answer, Upstream

NASTY = ["it's", 'a "quote"', "back\\slash", "line\nline", "'; DROP DATABASE x; --", "ü 🐧", "\\'"]


async def test_written_points_are_read_back(databases: Databases) -> None:
    async with influx_of(databases) as influx:
        await ensure(influx, {"usage_raw": 0})
        assert await influx.write("usage_raw", b'm,t=a i=1i,s="x" 10\nm,t=b i=2i 20') == Written()
        (series,) = await read(influx, Select("usage_raw", "m", ["i", "s", "t"], counted="i"))
    assert series.columns == ["time", "i", "s", "t"]
    assert series.values == [[10, 1, "x", "a"], [20, 2, None, "b"]]


@pytest.mark.parametrize("text", NASTY)
async def test_text_in_a_query_is_only_text(databases: Databases, text: str) -> None:
    async with influx_of(databases) as influx:
        await ensure(influx, {"usage_raw": 0})
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').encode()
        await influx.write("usage_raw", b'm s="' + escaped + b'" 10\nm s="other" 20')
        where = f"s = {string(text)}"
        (series,) = await read(influx, Select("usage_raw", "m", ["s"], where, counted="s"))
    assert series.values == [[10, text]]


@pytest.mark.parametrize("name", ['a"b', "a b", "a\\b", "a,b=c", "ü"])
async def test_name_in_a_query_is_only_a_name(databases: Databases, name: str) -> None:
    async with influx_of(databases) as influx:
        await ensure(influx, {"usage_raw": 0})
        written = name.replace(",", "\\,").replace(" ", "\\ ").encode()
        assert await influx.write("usage_raw", written + b" f=1i 10") == Written()
        (series,) = await read(influx, Select("usage_raw", name, ["f"], counted="f"))
    assert (series.name, series.values) == (name, [[10, 1]])


async def test_answer_is_streamed_as_csv(databases: Databases) -> None:
    async with influx_of(databases) as influx:
        await ensure(influx, {"usage_raw": 0})
        lines = b"\n".join(b"m i=%di %d" % (n, n) for n in range(1, 5001))
        assert await influx.write("usage_raw", lines) == Written()
        pieces = [
            piece
            async for piece in stream_csv(influx, Select("usage_raw", "m", ["i"], counted="i"))
        ]
    rows = b"".join(pieces).split()
    assert rows[0] == b"name,tags,time,i"
    assert [row for row in rows if row.startswith(b"m,")][-1] == b"m,,5000,5000"
    assert sum(row.startswith(b"m,") for row in rows) == 5000


async def test_points_are_deleted_and_no_others(databases: Databases) -> None:
    async with influx_of(databases) as influx:
        await ensure(influx, {"usage_raw": 0})
        await influx.write("usage_raw", b"m i=1i 10\nm i=2i 20\nn i=3i 10")
        await influx.delete("usage_raw", "m", "time = 10")
        left = await influx.query("usage_raw", "SELECT i FROM m, n")
    assert {series.name: series.values for series in left} == {"m": [[20, 2]], "n": [[10, 3]]}


async def test_databases_are_made_once(databases: Databases) -> None:
    async with influx_of(databases) as influx:
        wanted = {"usage_raw": 90 * 86_400, "usage_daily": 0}
        assert await ensure(influx, wanted) == [databases.raw, databases.daily]
        assert await ensure(influx, wanted) == []


async def test_wrong_query_is_an_error_with_influxdbs_words(databases: Databases) -> None:
    async with influx_of(databases) as influx:
        await ensure(influx, {"usage_raw": 0})
        with pytest.raises(InfluxError, match="error parsing query"):
            await influx.query("usage_raw", "SELECT FROM")


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (Answer(204), Written()),
        (Answer(400, "partial write: x dropped=3"), Rejected("partial write: x dropped=3", 3)),
        (Answer(422, "partial write: x dropped=1"), Rejected("partial write: x dropped=1", 1)),
        (Answer(400, "unable to parse"), Rejected("unable to parse", None)),
        (Answer(401, "no"), Denied(401, "no")),
        (Answer(403, "no"), Denied(403, "no")),
        (Answer(404, "database not found"), Denied(404, "database not found")),
        (Answer(302, "elsewhere"), Denied(302, "elsewhere")),
        (Answer(413, "large"), TooLarge()),
        (Answer(429, "slow", {"Retry-After": "7"}), Unavailable("InfluxDB answers 429: slow", 7)),
        (Answer(429, "slow", {"Retry-After": "soon"}), Unavailable("InfluxDB answers 429: slow")),
        (Answer(500, "timeout"), Unavailable("InfluxDB answers 500: timeout")),
        (Answer(503, "a\nb" * 400), Unavailable(f"InfluxDB answers 503: {('a b' * 100)[:300]}")),
    ],
    ids=lambda value: str(getattr(value, "status", type(value).__name__)),
)
async def test_answer_to_a_write_is_told_apart(answer: Answer, result: WriteResult) -> None:
    async with (
        Upstream(always=answer).running() as upstream,
        Influx(upstream.url) as influx,
    ):
        assert await influx.write("usage_raw", b"m f=1i 1") == result


async def test_server_that_is_not_there_is_unavailable_and_never_an_exception() -> None:
    async with Influx("http://127.0.0.1:9") as influx:
        result = await influx.write("usage_raw", b"m f=1i 1")
        with pytest.raises(InfluxUnavailable, match="cannot be reached"):
            await influx.query(None, "SHOW DATABASES")
        with pytest.raises(InfluxUnavailable, match="cannot be reached"):
            await influx.ping()
    assert isinstance(result, Unavailable)
    assert "cannot be reached" in result.reason


@pytest.mark.parametrize(
    ("token", "header"),
    [
        ("", None),
        ("abc", "Token abc"),
        ("user:pass", "Basic dXNlcjpwYXNz"),
        ("user:pa:ss", "Basic dXNlcjpwYTpzcw=="),
    ],
)
async def test_token_or_user_is_sent(token: str, header: str | None) -> None:
    async with Upstream().running() as upstream, Influx(upstream.url, token=token) as influx:
        await influx.write("usage_raw", b"m f=1i 1")
    assert upstream.seen[0].headers.get("Authorization") == header


@pytest.mark.parametrize(("status", "kind"), [(500, InfluxUnavailable), (401, InfluxError)])
async def test_refused_query_is_an_error_of_its_kind(status: int, kind: type[InfluxError]) -> None:
    async with (
        Upstream(query=Answer(status, "no")).running() as upstream,
        Influx(upstream.url) as influx,
    ):
        with pytest.raises(InfluxError, match=f"answers {status}: no") as error:
            await influx.query(None, "SHOW DATABASES")
    assert type(error.value) is kind
