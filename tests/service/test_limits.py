"""The limits that are shipped for InfluxDB 1.x stop a costly query and nothing of ours."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from collector.influx import CutShort, Select, read
from collector.public.series import PublicSeries
from tests.conftest import Databases
from tests.network import Rollup, influx_of
from tests.owners import DAY, DAYS_BACK, NEIGHBOURS, lay_past, midnight
from tools.embedded import EmbeddedInflux

LIMITS = Path("deploy/influxdb/limits.conf")


def shipped() -> dict[str, str]:
    found = dict(re.findall(r"^Environment=(\w+)=(\w+)$", LIMITS.read_text(), re.MULTILINE))
    assert len(found) == 4
    return found


async def test_shipped_limits_stop_a_costly_query_and_nothing_of_ours(
    own_influx: EmbeddedInflux, own_databases: Databases, tmp_path: Path
) -> None:
    own_influx.overrides = shipped()
    await asyncio.to_thread(own_influx.restart)
    await asyncio.to_thread(lay_past, own_databases)
    async with influx_of(own_databases) as influx:
        rollup = Rollup(influx, 1, 90 * 86_400, tmp_path)
        days = range(midnight() // DAY - DAYS_BACK, midnight() // DAY)
        results = await rollup.roll(days, midnight() + DAY // 2)
        assert [result.reports for result in results] == [NEIGHBOURS + 1] * DAYS_BACK
        assert len((await PublicSeries(influx).snapshot()).days) == DAYS_BACK
        costly = Select(
            "usage_daily",
            "daily_nodes",
            ["count(nodes)"],
            "time > now() - 3650d",
            "GROUP BY time(1s)",
        )
        with pytest.raises(CutShort, match="max-select-buckets limit exceeded"):
            await read(influx, costly)
        # What influxd did not understand it would pass over: each of the names is in its own list.
        settings = await influx.query(None, "SHOW DIAGNOSTICS")
        (coordinator,) = [one for one in settings if one.name == "config-coordinator"]
        held = dict(zip(coordinator.columns, coordinator.values[0], strict=True))
    assert held["max-concurrent-queries"] == 64
    assert held["max-select-point"] == 50_000_000
    assert held["query-timeout"] == "1m0s"
