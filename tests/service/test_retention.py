"""How long what is kept, on a real InfluxDB: shown, planned, set, and applied at a start."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from collector.influx.databases import ensure, retentions, set_retention, shard_seconds
from collector.influx.usage import usage
from collector.retention import NEEDS, first_complete, outlasts, prepare, recomputable_from
from collector.schema import DAILY, LIVE, MEASUREMENTS, OWNERS, RAW
from collector.state import pseudonym_key
from tests.command import command
from tests.conftest import Databases, InfluxServer, StartServe
from tests.network import influx_of
from tests.sender import GUARD_S, until
from tools import embedded

DAY_S = 86_400
NS = 10**9
RETENTION = {RAW: 90 * DAY_S, DAILY: 0, OWNERS: 0}


def noon(days_back: int) -> int:
    """Noon of a day before today, in ns: no test's points change their day while it runs."""
    today = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    return int((today - timedelta(days=days_back)).timestamp()) * NS


def day(days_back: int) -> str:
    return (datetime.now(UTC).date() - timedelta(days=days_back)).isoformat()


@pytest.fixture
async def filled(databases: Databases) -> Databases:
    """50 days: each with two reports, of two nodes together, and its row of the daily series."""
    async with influx_of(databases) as influx:
        await ensure(influx, RETENTION)
    raw, daily = [], []
    for back in range(1, 51):
        at = noon(back)
        raw += [f'server_report,arch=x server="a{n}",nodes=1i {at + n}' for n in range(2)]
        raw += [f'node_report,arch=x node="b{n}",server="a{n}" {at + n}' for n in range(2)]
        midnight = at - 43_200 * NS
        daily += [
            f"daily_usage reports=2i,nodes=2i,final=1i {midnight}",
            f"daily_nodes,dimension=arch,value=x,within=all,within_value=all nodes=2i {midnight}",
        ]
    databases.server.write(databases.raw, "\n".join(raw))
    databases.server.write(databases.daily, "\n".join(daily))
    return databases


def shown(databases: Databases) -> list[dict[str, Any]]:
    done = command(databases.environment, "retention", "show", "--json")
    assert done.code == 0, done.err
    found: list[dict[str, Any]] = json.loads(done.out)
    return found


def kept_seconds(databases: Databases) -> list[int]:
    return [found["kept_seconds"] for found in shown(databases)]


# show


def test_show_tells_points_days_and_retention_of_each_database(filled: Databases) -> None:
    raw, daily = shown(filled)
    assert (raw["database"], raw["kept_seconds"], raw["points"]) == (filled.raw, 90 * DAY_S, 200)
    assert (raw["oldest"], raw["newest"]) == (day(50), day(1))
    assert (daily["database"], daily["kept_seconds"], daily["points"]) == (filled.daily, 0, 100)
    if not filled.server.is_2:
        assert raw["disk_bytes"] > 0
        assert raw["disk_bytes_per_day"] == raw["disk_bytes"] // 50


def test_show_as_a_table_fits_a_terminal_and_says_for_ever(filled: Databases) -> None:
    done = command(filled.environment | {"COLUMNS": "120"}, "retention", "show")
    assert done.code == 0
    assert "90d" in done.out
    assert "for ever" in done.out
    assert day(50) in done.out


def test_show_before_the_first_start_says_that_nothing_is_there(databases: Databases) -> None:
    done = command(databases.environment | {"COLUMNS": "120"}, "retention", "show")
    assert done.code == 0, done.err
    assert done.out.count("missing") == 2
    assert kept_seconds(databases) == [None, None]


async def test_day_without_the_commonest_field_is_counted_too(databases: Databases) -> None:
    async with influx_of(databases) as influx:
        await ensure(influx, RETENTION)
        lines = f"daily_usage reports=2i,nodes=2i {noon(2)}\ndaily_usage nodes=1i {noon(3)}"
        await influx.write(DAILY, lines.encode())
        assert (await usage(influx, DAILY)).points == 2


# plan


def test_plan_tells_days_and_reports_and_changes_nothing(filled: Databases) -> None:
    done = command(filled.environment, "retention", "plan", "--raw", "30d", "--json")
    assert done.code == 0, done.err
    plan = json.loads(done.out)
    # The 30th day back has begun to expire: a part of it is older.
    assert plan["lost"] == [
        {
            "database": filled.raw,
            "kept_seconds": 90 * DAY_S,
            "planned_seconds": 30 * DAY_S,
            "days": 21,
            "first": day(50),
            "last": day(30),
            "reports": 42,
        }
    ]
    series = {row["series"]: (row["now"], row["planned"]) for row in plan["recomputable_from"]}
    assert series["the day's own counts and tables"] == (day(50), day(29))
    assert series["nodes_30d, servers_30d"] == (day(21), None)
    assert kept_seconds(filled) == [90 * DAY_S, 0]
    assert filled.server.count(filled.raw, "server_report", "server") == 100


def test_plan_of_daily_series_tells_the_published_days(filled: Databases) -> None:
    done = command(filled.environment, "retention", "plan", "--daily", "40d")
    assert done.code == 0
    assert re.search(rf"11 .*{day(50)} to {day(40)} .*22", done.out), done.out
    assert "gone for good" in done.err


def test_plan_of_a_longer_retention_loses_nothing(filled: Databases) -> None:
    done = command(filled.environment, "retention", "plan", "--raw", "180d", "--json")
    assert json.loads(done.out)["lost"][0]["days"] == 0


def test_plan_without_databases_says_so(databases: Databases) -> None:
    done = command(databases.environment, "retention", "plan", "--raw", "40d")
    assert done.code == 1
    assert f"there is no {databases.raw}" in done.err
    done = command(databases.environment, "retention", "plan", "--live", "40d")
    assert done.code == 1
    assert f"there is no {databases.prefix}{LIVE}" in done.err


# set


def test_set_asks_before_it_shortens(filled: Databases) -> None:
    done = command(filled.environment, "retention", "set", "--raw", "40d", answer="n\n")
    assert done.code == 1
    assert day(50) in done.out
    assert kept_seconds(filled) == [90 * DAY_S, 0]
    done = command(filled.environment, "retention", "set", "--raw", "40d", answer="y\n")
    assert done.code == 0, done.err
    assert kept_seconds(filled) == [40 * DAY_S, 0]
    assert "COLLECTOR_RETENTION_RAW is 90d" in done.err


def test_set_of_a_longer_retention_does_not_ask(filled: Databases) -> None:
    environment = filled.environment | {"COLLECTOR_RETENTION_RAW": "120d"}
    done = command(environment, "retention", "set", "--raw", "120d")
    assert (done.code, done.err) == (0, "")
    assert kept_seconds(filled) == [120 * DAY_S, 0]


def test_set_under_35_days_needs_force(filled: Databases) -> None:
    done = command(filled.environment, "retention", "set", "--raw", "34d", "--yes")
    assert done.code == 1
    assert "30-day numbers" in done.err
    assert kept_seconds(filled) == [90 * DAY_S, 0]
    done = command(filled.environment, "retention", "set", "--raw", "34d", "--yes", "--force")
    assert done.code == 0
    assert kept_seconds(filled) == [34 * DAY_S, 0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param((), "give --raw, --daily, --live, --librenms or", id="nothing"),
        pytest.param(("--raw", "12h"), "1d at least", id="under a day"),
        pytest.param(("--live", "1h"), "1d at least", id="live under a day"),
        pytest.param(("--raw", "soon"), "must be a duration", id="no duration"),
        pytest.param(("--daily", "40d"), "must outlast raw", id="daily under raw"),
    ],
)
def test_set_refuses(filled: Databases, arguments: tuple[str, ...], words: str) -> None:
    done = command(filled.environment, "retention", "set", *arguments, "--yes")
    assert done.code != 0
    assert words in done.err
    assert kept_seconds(filled) == [90 * DAY_S, 0]


def test_set_of_both_takes_daily_series_to_a_finite_time(filled: Databases) -> None:
    done = command(
        filled.environment, "retention", "set", "--raw", "35d", "--daily", "40d", "--yes"
    )
    assert done.code == 0, done.err
    assert kept_seconds(filled) == [35 * DAY_S, 40 * DAY_S]
    assert "COLLECTOR_RETENTION_DAILY is 0" in done.err


async def test_live_values_are_shown_planned_and_set_apart(filled: Databases) -> None:
    async with influx_of(filled) as influx:
        await ensure(influx, {LIVE: 30 * DAY_S})
        lines = [f"channels,asterisk=a count=1 {noon(back)}" for back in range(1, 21)]
        lines += [f"statsd_set,asterisk=a,name=n count=1i {noon(back)}" for back in (15, 20)]
        await influx.write(LIVE, "\n".join(lines).encode())
    live = shown(filled)[2]
    name = f"{filled.prefix}{LIVE}"
    assert (live["database"], live["kept_seconds"], live["points"]) == (name, 30 * DAY_S, 22)
    assert (live["oldest"], live["newest"]) == (day(20), day(1))
    done = command(filled.environment, "retention", "plan", "--live", "15d", "--json")
    assert done.code == 0, done.err
    (lost,) = json.loads(done.out)["lost"]
    assert (lost["database"], lost["days"], lost["reports"]) == (name, 6, 8)
    assert (lost["first"], lost["last"]) == (day(20), day(15))
    done = command(filled.environment, "retention", "set", "--live", "15d", "--yes")
    assert done.code == 0, done.err
    assert "COLLECTOR_RETENTION_LIVE is 30d" in done.err
    assert kept_seconds(filled) == [90 * DAY_S, 0, 15 * DAY_S]


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Databases]:
    """An InfluxDB 1.x that looks for expired data every second."""
    own = embedded.EmbeddedInflux(tmp_path / "quick-influxdb", retention_check="1s")
    own.start()
    yield Databases(InfluxServer(own.url), "")
    own.kill()


async def test_influxdb_deletes_what_a_shorter_retention_gives_up(quick: Databases) -> None:
    async with influx_of(quick) as influx:
        await ensure(influx, RETENTION)
        lines = [f'server_report server="a" {noon(back)}' for back in range(1, 51)]
        await influx.write(RAW, "\n".join(lines).encode())
        await set_retention(influx, RAW, 40 * DAY_S)
    await until(lambda: quick.server.count(RAW, "server_report", "server") <= 40)
    oldest = quick.server.query('SELECT first("server") FROM server_report', RAW)[0]["time"]
    # A shard of a day goes once all of it is too old: never a day in part.
    assert oldest == noon(40)


# at a start


async def test_start_makes_databases_with_the_shards_that_suit_them(databases: Databases) -> None:
    if databases.server.is_2:
        pytest.skip("InfluxQL on InfluxDB 2 does not tell shard durations")
    async with influx_of(databases) as influx:
        await prepare(influx, RETENTION)
        for name, wanted in ((RAW, "24h0m0s"), (DAILY, "8736h0m0s")):
            rows = databases.server.query(f'SHOW RETENTION POLICIES ON "{databases.prefix}{name}"')
            assert [row["shardGroupDuration"] for row in rows] == [wanted]


@pytest.fixture
def fresh_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logger that no command of an earlier test has bound to its own output."""
    monkeypatch.setattr("collector.retention.log", structlog.get_logger())


@pytest.mark.usefixtures("fresh_log")
async def test_start_lengthens_and_never_shortens(databases: Databases) -> None:
    async with influx_of(databases) as influx:
        await prepare(influx, RETENTION)
        await prepare(influx, {RAW: 120 * DAY_S, DAILY: 0})
        assert await retentions(influx, (RAW, DAILY)) == {RAW: 120 * DAY_S, DAILY: 0}
        with capture_logs() as logs:
            await prepare(influx, {RAW: 60 * DAY_S, DAILY: 365 * DAY_S})
        assert await retentions(influx, (RAW, DAILY)) == {RAW: 120 * DAY_S, DAILY: 0}
    warnings = [(log["retention"], log["setting"], log["command"]) for log in logs]
    assert warnings == [
        ("120d", "60d", "collector retention set --raw 60d"),
        ("for ever", "365d", "collector retention set --daily 365d"),
    ]
    assert {log["log_level"] for log in logs} == {"warning"}


@pytest.mark.usefixtures("fresh_log")
async def test_second_start_says_nothing(databases: Databases) -> None:
    async with influx_of(databases) as influx:
        await prepare(influx, RETENTION)
        with capture_logs() as logs:
            await prepare(influx, RETENTION)
    assert logs == []


async def test_served_setting_is_applied_when_longer(
    filled: Databases, serve: StartServe, tmp_path: Path
) -> None:
    # A collector does not start without the key under which the reports in InfluxDB were taken.
    key = tmp_path / "taken.key"
    pseudonym_key(key, tmp_path)
    collector = serve(
        filled.environment
        | {"COLLECTOR_RETENTION_RAW": "100d", "COLLECTOR_PSEUDONYM_KEY_FILE": str(key)}
    )
    deadline = time.monotonic() + GUARD_S
    async with influx_of(filled) as influx:
        while (await retentions(influx, (RAW,)))[RAW] != 100 * DAY_S:
            assert time.monotonic() < deadline, collector.logs()
            time.sleep(0.1)  # noqa: ASYNC251 - nothing else runs in this loop


# what a retention means


@pytest.mark.parametrize(
    ("one", "other", "longer"),
    [(0, 0, False), (0, 5, True), (5, 0, False), (5, 4, True), (4, 5, False), (5, 5, False)],
)
def test_for_ever_outlasts_all_but_itself(one: int, other: int, longer: bool) -> None:
    assert outlasts(one, other) is longer


@pytest.mark.parametrize(
    ("now", "whole"),
    [
        pytest.param(datetime(2026, 3, 31, 0, 0, tzinfo=UTC), date(2026, 3, 1), id="midnight"),
        pytest.param(datetime(2026, 3, 31, 0, 1, tzinfo=UTC), date(2026, 3, 2), id="just after"),
        pytest.param(datetime(2026, 3, 31, 23, 59, tzinfo=UTC), date(2026, 3, 2), id="late"),
    ],
)
def test_day_with_an_expired_minute_is_not_whole(now: datetime, whole: date) -> None:
    assert first_complete(now, 30 * DAY_S) == whole


@pytest.mark.parametrize("days", [31, 32, 35])
def test_35_days_allow_every_series_to_be_computed_again(days: int) -> None:
    now = datetime(2026, 3, 31, 12, tzinfo=UTC)
    found = [
        recomputable_from(one, first_complete(now, days * DAY_S), now) for one in NEEDS.values()
    ]
    assert (None in found) == (days < 32)


def test_series_that_a_plan_names_are_the_schemas() -> None:
    fields = {field.name for one in MEASUREMENTS for field in one.fields}
    names = fields | {one.name for one in MEASUREMENTS}
    named = {name for one in NEEDS for name in re.findall(r"\w+_\w+", one)}
    assert named <= names


@pytest.mark.parametrize(
    ("database", "retention", "days"),
    [(RAW, 90, 1), (RAW, 3650, 1), (DAILY, 0, 364), (DAILY, 3650, 28), (DAILY, 40, 1)],
)
def test_shards_are_as_long_as_what_they_hold_allows(
    database: str, retention: int, days: int
) -> None:
    assert shard_seconds(database, retention * DAY_S) == days * DAY_S
