"""Days that stay as they are whatever their raw reports say, and numbers that outlive theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.rollup.compute import Outcome
from tests.conftest import Databases
from tests.fleets import EPOCH, Received, random_fleet
from tests.network import Network, differences
from tests.oracle import DAY, HOUR, Oracle, Points, Series, said

DAYS = 5
NOW = (EPOCH + DAYS) * DAY + 2 * HOUR


@pytest.fixture
def network(databases: Databases) -> Network:
    made = Network(databases)
    made.create()
    return made


@pytest.fixture(scope="module")
def received() -> Received:
    """What a fleet of 8 servers sends in 5 days."""
    return random_fleet(21, days=DAYS, servers=8)


def of_day(series: Series, day: int) -> Series:
    """The series' points of one day."""
    return {
        name: {key: fields for key, fields in points.items() if key[0] // DAY == day}
        for name, points in series.items()
    }


def without(points: Points, *names: str) -> Points:
    return {
        key: {name: value for name, value in fields.items() if name not in names}
        for key, fields in points.items()
    }


async def test_a_day_whose_raw_data_may_have_begun_to_expire_is_never_computed(
    network: Network, state_dir: Path, received: Received
) -> None:
    network.lay_received(received)
    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(NOW)
    before = network.series()
    network.databases.server.query(
        f"DELETE FROM node_report WHERE time < {EPOCH * DAY + 12 * HOUR}", network.databases.raw
    )
    # At `NOW` the first three days, and two hours of the next, are older than that.
    retention_s = 2 * 86_400

    async with network.rollup(state_dir, retention_s=retention_s) as rollup:
        results = await rollup.roll(range(EPOCH, EPOCH + 4), NOW, force=True)
        assert {result.outcome for result in results} == {Outcome.EXPIRED}
        await rollup.reconcile(NOW)

    for day in range(EPOCH, EPOCH + 4):
        assert of_day(network.series(), day) == of_day(before, day)


@pytest.mark.no_cover  # the slow repetition of what other tests cover
async def test_numbers_that_reach_back_over_expired_days_stay_as_they_were_computed(
    network: Network, state_dir: Path
) -> None:
    days, retention = 40, 35
    now = (EPOCH + days) * DAY + 2 * HOUR
    received = random_fleet(12, days=days, servers=4)
    late_day = EPOCH + days - 3
    late = [each for each in received if each[0] // DAY == late_day][1:]
    network.lay_received([each for each in received if each not in late])
    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(now)
    windows = (
        *("nodes_7d", "nodes_30d", "servers_7d", "servers_30d"),
        *("new_nodes", "lapsed_nodes"),
    )
    before = network.series()
    gone = (EPOCH + days - retention + 1) * DAY
    for measurement in ("server_report", "node_report"):
        network.databases.server.query(
            f"DELETE FROM {measurement} WHERE time < {gone}", network.databases.raw
        )
    network.lay_received(late)

    async with network.rollup(state_dir, retention_s=retention * 86_400) as rollup:
        await rollup.reconcile(now)

    found = of_day(network.series(), late_day)
    exact = Oracle(said(received), now).series([late_day])
    # The 30 days before the late one are not whole any more, so that no window can be counted.
    key = (late_day * DAY, ())
    kept = before["daily_usage"][key]
    for name in windows:
        assert found["daily_usage"][key][name] == kept[name]
    for series in (found, exact):
        series["daily_usage"] = without(series["daily_usage"], *windows)
        series["daily_upgrades"] = {}
    assert not differences(found, exact)


async def test_an_imported_day_is_never_computed(
    network: Network, state_dir: Path, received: Received
) -> None:
    day = EPOCH + 2
    imported = {"nodes": 4210, "servers": 3480, "imported": 1, "final": 1}
    fields = ",".join(f"{name}={value}i" for name, value in imported.items())
    network.publish([f"daily_usage {fields} {day * DAY}"])
    network.lay_received(received)

    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(NOW)
        [result] = await rollup.roll([day], NOW, force=True)
        assert result.outcome is Outcome.IMPORTED
        assert await rollup.due(NOW) == []

    found = of_day(network.series(), day)
    assert found.pop("daily_usage") == {(day * DAY, ()): imported}
    assert not any(found.values())


async def test_windows_reach_over_an_imported_day(
    network: Network, state_dir: Path, received: Received
) -> None:
    network.publish([f"daily_usage nodes=4210i,imported=1i,final=1i {(EPOCH + 2) * DAY}"])
    network.lay_received(received)

    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(NOW)

    day = EPOCH + 4
    exact = Oracle(said(received), NOW).series([day])
    assert of_day(network.series(), day)["daily_usage"] == exact["daily_usage"]


async def test_silence_is_stored_as_soon_as_an_hour_of_it_is_over(
    network: Network, state_dir: Path, received: Received
) -> None:
    network.lay_received(received)
    now = (EPOCH + DAYS) * DAY + 3 * HOUR
    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(now)

    exact = Oracle(said(received), now).series()
    assert len(of_day(exact, EPOCH + DAYS)["hourly_usage"]) == 3
    assert not differences(network.series(), exact)


async def test_days_of_silence_between_reports_are_stored_as_zeros(
    network: Network, state_dir: Path, received: Received
) -> None:
    heard = [each for each in received if each[0] // DAY in (EPOCH, EPOCH + DAYS - 1)]
    network.lay_received(heard)
    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(NOW)

    exact = Oracle(said(heard), NOW).series()
    assert exact["daily_usage"][(EPOCH + 2) * DAY, ()]["reports"] == 0
    assert not differences(network.series(), exact)


async def test_there_is_nothing_to_compute_where_nothing_was_ever_received(
    network: Network, state_dir: Path
) -> None:
    async with network.rollup(state_dir) as rollup:
        assert await rollup.due(NOW) == []
        [result] = await rollup.roll([EPOCH], NOW)
    assert result.outcome is Outcome.EMPTY
    assert not any(network.series().values())
