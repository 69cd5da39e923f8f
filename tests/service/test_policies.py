"""A new default retention policy in InfluxDB 1.x hides nothing, and is told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from collector.check import examine
from collector.influx import Influx, InfluxError
from collector.influx.client import Written
from collector.influx.databases import ensure, retentions, set_retention
from collector.influx.usage import usage
from collector.retention import prepare
from collector.settings import Settings
from tests.conftest import Databases
from tests.influx_two import OPERATOR, ORG, InfluxTwo
from tests.network import Rollup, influx_of
from tests.owners import DAY, DAYS_BACK, NEIGHBOURS, OWNER, lay_past, midnight, raw_points
from tests.service.test_check_influxdb import serving
from tests.service.upstream import Upstream

WANTED = {"usage_raw": 90 * 86_400, "usage_daily": 0, "usage_owners": 0}
LINE = b'server_report,arch=x server="%s",nodes=1i %d'


def new_default(databases: Databases, name: str = "ops") -> None:
    """What an operator may do in the shell of InfluxDB."""
    for database in (databases.raw, databases.daily):
        databases.server.query(
            f'CREATE RETENTION POLICY "{name}" ON "{database}" DURATION 5w REPLICATION 1 DEFAULT'
        )


def replace_policy(databases: Databases, was: str, becomes: str) -> None:
    made = f'"{becomes}" ON "{databases.raw}" DURATION INF REPLICATION 1 DEFAULT'
    databases.server.query(f"CREATE RETENTION POLICY {made}")
    databases.server.query(f'DROP RETENTION POLICY "{was}" ON "{databases.raw}"')


def held(databases: Databases, policy: str) -> int:
    """Raw server reports in a policy."""
    rows = databases.server.query(
        f'SELECT count(server) AS n FROM "{policy}"."server_report"', databases.raw
    )
    return int(rows[0]["n"]) if rows else 0


async def test_days_stay_as_they_are_when_the_default_policy_changes(
    databases: Databases, tmp_path: Path
) -> None:
    opens = midnight()
    await asyncio.to_thread(lay_past, databases)
    now, today = opens + DAY // 2, opens // DAY
    before = held(databases, "autogen")
    # The client that was there, and one of a process that starts after the change.
    async with influx_of(databases) as old, influx_of(databases) as new:
        for influx in (old, new):
            rollup = Rollup(influx, 1, 90 * 86_400, tmp_path / "state")
            await rollup.roll([today - 1, today], now, force=True)
            rows = databases.server.query(
                'SELECT reports FROM "autogen"."daily_usage"', databases.daily
            )
            reports = {row["time"] // DAY: row["reports"] for row in rows}
            assert reports == {today - 1: NEIGHBOURS + 1, today: NEIGHBOURS + 1}
            if influx is old:
                new_default(databases)
            # On a day that is not looked at above.
            line = LINE % (b"0123456789abcdef", opens - 2 * DAY + (influx is old))
            assert await influx.write("usage_raw", line) == Written()
    assert held(databases, "ops") == 0
    assert held(databases, "autogen") == before + 2


async def test_retention_is_told_and_set_of_the_policy_that_holds_the_points(
    databases: Databases,
) -> None:
    async with influx_of(databases) as influx:
        await ensure(influx, WANTED)
        at = int(datetime.now(UTC).timestamp()) * 10**9
        assert await influx.write("usage_raw", LINE % (b"00", at)) == Written()
        new_default(databases)
        assert await retentions(influx, ("usage_raw",)) == {"usage_raw": 90 * 86_400}
        await set_retention(influx, "usage_raw", 100 * 86_400)
        assert await retentions(influx, ("usage_raw",)) == {"usage_raw": 100 * 86_400}
        assert (await usage(influx, "usage_raw")).points == 1
    policies = databases.server.query(f'SHOW RETENTION POLICIES ON "{databases.raw}"')
    assert {row["name"]: row["duration"] for row in policies} == {
        "autogen": "2400h0m0s",
        "ops": "840h0m0s",
    }


async def test_another_default_is_told_by_the_start_and_by_check(
    databases: Databases, state_dir: Path
) -> None:
    async with influx_of(databases) as influx:
        await ensure(influx, WANTED)
        at = int(datetime.now(UTC).timestamp()) * 10**9
        for database, line in (
            ("usage_raw", LINE % (b"00", at)),
            ("usage_daily", b"daily_usage reports=1i %d" % at),
        ):
            assert await influx.write(database, line) == Written()
    settings = Settings(
        influx_url=databases.server.url, influx_prefix=databases.prefix, state_dir=state_dir
    )
    assert all(finding.good for finding in await examine(settings))
    new_default(databases)
    async with influx_of(databases) as influx:
        with capture_logs() as logs:
            await prepare(influx, WANTED)
    said = [entry["why"] for entry in logs if "why" in entry]
    found = [finding.text for finding in await examine(settings) if not finding.good]
    assert len(said) == len(found) == 2
    remedy = f'ALTER RETENTION POLICY "autogen" ON "{databases.raw}" DEFAULT'
    for words in (said, found):
        assert remedy in words[0]
    databases.server.query(remedy)
    assert len([one for one in await examine(settings) if not one.good]) == 1


async def test_owner_finds_what_an_earlier_version_wrote_into_another_default(
    databases: Databases,
) -> None:
    await asyncio.to_thread(lay_past, databases)
    new_default(databases)
    at = midnight() + DAY // 3
    # Written without a policy, as it was before policies were named.
    databases.server.write(databases.raw, (LINE % (OWNER.encode(), at)).decode())
    assert held(databases, "ops") == 1
    async with influx_of(databases) as influx:
        rows = await raw_points(influx)
        assert len(rows) == 3 * (DAYS_BACK + 1) + 1
        await influx.delete("usage_raw", "server_report", f"time = {at}")
    assert held(databases, "ops") == 0


async def test_policy_that_is_gone_is_looked_for_anew(databases: Databases) -> None:
    async with influx_of(databases) as influx:
        await ensure(influx, WANTED)
        line = LINE % (b"00", int(datetime.now(UTC).timestamp()) * 10**9)
        assert await influx.write("usage_raw", line) == Written()
        replace_policy(databases, "autogen", "next")
        assert await influx.write("usage_raw", line) != Written()
        assert await influx.write("usage_raw", line) == Written()
        replace_policy(databases, "next", "last")
        with pytest.raises(InfluxError, match="retention policy not found"):
            await usage(influx, "usage_raw")
        assert (await usage(influx, "usage_raw")).points == 0


async def test_no_policy_is_named_to_influxdb_2() -> None:
    async with (
        serving(InfluxTwo().application()) as url,
        Influx(url, token=OPERATOR, org=ORG) as influx,
    ):
        await ensure(influx, WANTED)
        assert await influx.source("usage_raw", "m") == '"m"'


async def test_policy_is_named_in_a_write_to_1_x() -> None:
    async with Upstream().running() as upstream, Influx(upstream.url) as influx:
        assert await influx.write("usage_raw", b"m f=1i 1") == Written()
    assert upstream.seen[0].params["rp"] == "autogen"
