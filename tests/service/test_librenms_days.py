"""Daily numbers of LibreNMS's reports: exact, idempotent, healed, and left as published."""

from __future__ import annotations

import asyncio
import csv
import io
import random
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from collector.days import day_ns
from collector.influx import Influx
from collector.influx.databases import ensure
from collector.public.librenms import LibreNMSDays as DaysModel
from collector.public.librenms import LibreNMSTotals
from collector.rollup.librenms import LibreNMSDays
from collector.schema.librenms import LIBRENMS_MEASUREMENTS
from tests.conftest import Databases
from tests.length import seed
from tests.librenms import (
    FORM,
    Installs,
    clearing,
    expected,
    report,
    serving,
    settings_of,
    today,
    uuid_of,
)
from tests.sender import eventually
from tools.dashboards.asked import LIBRENMS, Span, boards, filled, hidden, queries

K = 3
S = 10**9
SEED = 20_261_125
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TODAY = NOW.date()


@pytest.fixture
async def influx(databases: Databases) -> AsyncIterator[Influx]:
    server = databases.server
    async with Influx(
        server.url, token=server.token, org=server.org, prefix=databases.prefix
    ) as client:
        await ensure(client, {"librenms": 0, "usage_daily": 0})
        yield client


@pytest.fixture
def installs(databases: Databases) -> Installs:
    return Installs(databases)


def days_of(influx: Influx, *, retention_s: int = 90 * 86_400) -> LibreNMSDays:
    return LibreNMSDays(influx, k=K, retention_s=retention_s, erasures=frozenset)


async def roll_all(days: LibreNMSDays) -> list[date]:
    due = await days.due(NOW)
    for day in due:
        assert (await days.roll(day, NOW)).outcome == "written"
    return due


def published(databases: Databases) -> dict[str, list[dict[str, Any]]]:
    return {
        name: databases.server.query(f'SELECT * FROM "{name}"', databases.daily)
        for name in ("daily_librenms", "daily_librenms_totals")
    }


def numbers(databases: Databases) -> dict[date, dict[str, Any]]:
    return {
        (datetime.fromtimestamp(0, UTC) + timedelta(seconds=row["time"] // S)).date(): row
        for row in published(databases)["daily_librenms"]
    }


def sent_at_random(installs: Installs, days: list[date]) -> None:
    """Some installs report each of these days, some of them twice."""
    rng = random.Random(seed(SEED))
    systems = ["ios", "junos", "linux", "eos", "nxos", "vyos"]
    for day in days:
        for number in range(rng.randint(4, 8)):
            for run in range(rng.choice([1, 1, 2])):
                chosen = rng.sample(systems, rng.randint(1, 4))
                rows = [{"total": rng.randint(1, 90), "os": os} for os in chosen]
                second = 20 * number + run * 10
                installs.send(day, number, report(uuid_of(number), os=rows), second)


def devices_of(sent: dict[int, dict[str, Any]]) -> dict[str, list[int]]:
    """The devices of each operating system, by install, of the last reports of a day."""
    wanted: dict[str, list[int]] = {}
    for said in sent.values():
        for _, value, total in expected(said)["os"]:
            wanted.setdefault(str(value), []).append(total)
    return wanted


async def test_days_are_exact_by_the_last_report_of_each_install_and_stay_the_same(
    influx: Influx, databases: Databases, installs: Installs
) -> None:
    days = [TODAY - timedelta(days=n) for n in range(4, -1, -1)]
    sent_at_random(installs, [day for day in days if day != days[3]])
    rolling = days_of(influx)
    assert await roll_all(rolling) == days
    found = numbers(databases)
    assert {day: (row["reports"], row["installs"], row["final"]) for day, row in found.items()} == {
        day: (installs.reports.get(day, 0), len(installs.sent.get(day, {})), int(day < TODAY))
        for day in days
    }
    assert "devices" not in {name for name, value in found[TODAY].items() if value is not None}
    assert {row["time"] for row in published(databases)["daily_librenms_totals"]} == {
        day_ns(day) for day in installs.sent if day != TODAY
    }
    for day, sent in installs.sent.items():
        if day == TODAY:
            continue
        wanted = devices_of(sent)
        shown = {
            row["value"]: row["total"]
            for row in published(databases)["daily_librenms_totals"]
            if row["time"] == day_ns(day) and row["group"] == "os"
        }
        devices = sum(map(sum, wanted.values()))
        assert shown.pop("all") == devices == found[day]["devices"]
        assert sum(shown.values()) == devices
        shown.pop("other", None)
        assert shown == {value: sum(wanted[value]) for value in shown}
        assert all(len(wanted[value]) >= K for value in shown)
    before = published(databases)
    assert await rolling.due(NOW) == []
    for day in days:
        await rolling.roll(day, NOW)
        assert await rolling.differences(day, NOW) == {}
    assert published(databases) == before


async def test_late_report_heals_its_day_and_an_expired_day_is_left_alone(
    influx: Influx, databases: Databases, installs: Installs
) -> None:
    old, yesterday = TODAY - timedelta(days=30), TODAY - timedelta(days=1)
    for day in (old, yesterday):
        installs.fill(day, range(4))
    rolling = days_of(influx)
    assert len(await roll_all(rolling)) >= 30
    installs.fill(old, [7])
    installs.fill(yesterday, [7])
    assert await days_of(influx, retention_s=20 * 86_400).due(NOW) == [yesterday]
    assert (await days_of(influx, retention_s=20 * 86_400).roll(old, NOW)).outcome == "expired"
    assert await roll_all(rolling) == [old, yesterday]
    assert numbers(databases)[old]["installs"] == 5
    # What a run wrote and a later one does not is deleted.
    databases.server.query("DELETE FROM librenms_report", f"{databases.prefix}librenms")
    installs.fill(yesterday, range(4, 5))
    refused = await rolling.roll(yesterday, NOW)
    assert (refused.outcome, numbers(databases)[yesterday]["installs"]) == ("refused", 5)
    assert (await rolling.roll(yesterday, NOW, force=True)).outcome == "written"
    assert numbers(databases)[yesterday]["installs"] == 1
    left = [
        row for row in published(databases)["daily_librenms_totals"]
        if row["time"] == day_ns(yesterday)
    ]  # fmt: skip
    assert left == []


def written(databases: Databases) -> set[tuple[str, str, str]]:
    """(measurement, field, type) of what InfluxDB holds of LibreNMS."""
    return {
        (one.name, row["fieldKey"], row["fieldType"])
        for one in LIBRENMS_MEASUREMENTS
        for row in databases.server.query(
            f'SHOW FIELD KEYS FROM "{one.name}"', f"{databases.prefix}{one.database}"
        )
    }


async def until(holds: Any) -> None:
    await asyncio.to_thread(eventually, holds)


async def test_cleared_install_leaves_final_days_as_published_and_open_ones_without_it(
    influx: Influx, databases: Databases, installs: Installs, state_dir: Path
) -> None:
    settings = settings_of(databases, state_dir, k_anonymity=K)
    now = datetime.now(UTC)
    past = now.date() - timedelta(days=3)
    installs.fill(past, range(6))
    async with serving(settings) as session:
        await until(lambda: numbers(databases).get(past, {}).get("final") == 1)
        for number in (1, 2):
            body = today(report(uuid_of(number)))
            async with session.post("/log.php", data=body, headers=FORM) as response:
                assert response.status == 200
        count = partial(databases.server.count, f"{databases.prefix}librenms", "librenms_report")
        await until(lambda: count("points") == 6 + 2)
    # A start looks at once; the next look would be at the next quarter of an hour.
    async with serving(settings) as session:
        await until(lambda: numbers(databases).get(now.date(), {}).get("installs") == 2)
        before = [
            row
            for row in published(databases)["daily_librenms_totals"]
            if row["time"] == day_ns(past)
        ]
        for number in (1, 2):
            async with session.post(
                "/clear.php", data=clearing(uuid_of(number)), headers=FORM
            ) as response:
                assert await response.json() == {"status": "erased"}
        await until(lambda: numbers(databases)[now.date()]["installs"] == 0)
        found = numbers(databases)[past]
        assert (found["reports"], found["installs"], found["erased_reports"]) == (6, 6, 2)
        after = [
            row
            for row in published(databases)["daily_librenms_totals"]
            if row["time"] == day_ns(past)
        ]
        assert after == before
    rolling = days_of(influx)
    assert past not in await rolling.due(now)
    assert (await rolling.roll(past, now)).outcome == "erased"
    declared = {
        (one.name, field.name, str(field.type))
        for one in LIBRENMS_MEASUREMENTS
        for field in one.fields
    }
    assert written(databases) == declared
    # A report that arrives late is counted, and then the day is what is stored of it.
    installs.fill(past, [9])
    assert past in await rolling.due(now)
    await rolling.roll(past, now)
    assert numbers(databases)[past]["installs"] == 5


async def test_every_query_of_the_dashboard_returns_the_days_numbers(
    influx: Influx, databases: Databases, installs: Installs
) -> None:
    now = datetime.now(UTC)
    for back in (3, 2, 1, 0):
        installs.fill(now.date() - timedelta(days=back), range(5))
    rolling = days_of(influx)
    for day in await rolling.due(now):
        await rolling.roll(day, now)
    (board,) = boards(LIBRENMS)
    until = day_ns(now.date()) // 10**6
    span = Span(until - 30 * 86_400_000, until - 1)
    variable = board["templating"]["list"][0]
    offered = databases.server.query(variable["query"], databases.daily)
    assert variable["current"]["value"] in {row["value"] for row in offered}
    found: dict[str, list[dict[str, Any]]] = {}

    def values(text: str) -> list[str]:
        return [str(row["value"]) for row in databases.server.query(text, databases.daily)]

    variables = hidden(board, {"group": "port_type"}, span, values)
    assert variables["greatest_python_version"].count("|") == 0
    for query in queries(board):
        text = filled(query.text, variables, span)
        rows = databases.server.query(text, databases.daily)
        if "= 'other'" in text.replace("!= 'other'", ""):
            # All installs have the same, so that nothing is in `other`.
            assert not rows, query
        elif '"both"' not in text:
            # Of one value there is no rest.
            assert bool(rows) == ("!~" not in text), query
        found.setdefault(query.panel, rows)
        # An open day is never drawn as a drop.
        assert all(row["time"] < day_ns(now.date()) for row in rows), query
    assert {row["installs"] for row in found["Installs by day"]} == {5}
    systems = {row["value"]: row["sum"] for row in found["Devices by operating system, last day"]}
    assert systems == {value: 5 * total for value, (total,) in devices_of({1: report()}).items()}
    assert found["Devices, last day"][-1]["devices"] == sum(systems.values())
    assert {row["value"] for row in found["Devices by version of SNMP, last day"]} == {"v2c", "v3"}
    assert {row["value"] for row in found["Chosen group, last day: $group"]} == {
        value for _, value, _ in expected(report())["port_type"]
    }


async def got(session: aiohttp.ClientSession, path: str) -> Any:
    async with session.get(path) as response:
        assert response.status == 200, await response.text()
        if response.content_type == "text/csv":
            return list(csv.DictReader(io.StringIO(await response.text())))
        said = await response.json()
        model = LibreNMSTotals if "totals" in path else DaysModel
        model.model_validate(said)
        return said["rows"]


async def test_everyone_may_download_the_days_and_sums_as_they_are_published(
    influx: Influx, databases: Databases, installs: Installs, state_dir: Path
) -> None:
    now = datetime.now(UTC)
    for back in (4, 3):
        installs.fill(now.date() - timedelta(days=back), range(5))
    rolling = days_of(influx)
    for day in await rolling.due(now):
        await rolling.roll(day, now)
    stored = published(databases)
    async with serving(settings_of(databases, state_dir, k_anonymity=K, asl=False)) as session:
        days = await got(session, "/v1/daily/librenms")
        assert [row["installs"] for row in days][:2] == [5, 5]
        assert days[0]["devices"] == stored["daily_librenms"][0]["devices"]
        first, last = days[0]["day"], days[1]["day"]
        totals = await got(session, "/v1/daily/librenms/totals")
        assert len(totals) == len(stored["daily_librenms_totals"])
        span = f"from={first}&to={last}&group=os"
        systems = await got(session, f"/v1/daily/librenms/totals?{span}")
        assert {row["group"] for row in systems} == {"os"}
        assert {row["day"] for row in systems} == {first, last}
        rows = await got(session, f"/v1/daily/librenms/totals.csv?{span}")
        assert [{k: str(v) for k, v in row.items()} for row in systems] == rows
        assert len(await got(session, "/v1/daily/librenms.csv")) == len(days)
        for wrong in (
            "librenms?group=os",
            "librenms?from=2020-01-01",
            f"librenms/totals?from={now.date() - timedelta(days=60)}",
            "librenms/totals?group=",
            "librenms?from=tomorrow",
        ):
            async with session.get(f"/v1/daily/{wrong}") as response:
                assert (response.status, (await response.json())["reason"]) == (
                    400,
                    "invalid-parameter",
                )
        async with session.get("/v1/daily/librenms") as response:
            tag = response.headers["ETag"]
        async with session.get("/v1/daily/librenms", headers={"If-None-Match": tag}) as response:
            assert response.status == 304
        async with session.get("/v1/daily/librenms/totals?group=x' OR 'a'='a") as response:
            assert (await response.json())["rows"] == []
