"""Every published number, against a count by brute force that shares no code with the product."""

from __future__ import annotations

import random
from datetime import date, timedelta
from pathlib import Path

import pytest

from collector.rollup.compute import Planner
from collector.rollup.daily import UP_TO_1_GIB
from collector.rollup.ranges import Plan
from tests.conftest import Databases
from tests.fleets import EPOCH, Received, random_fleet
from tests.length import seeds
from tests.network import TAGS, Network, differences, number_of
from tests.oracle import DAY, HOUR, Oracle, said
from tests.safety import unsafe
from tools.simulation.fleet import Fleet

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

A_DAY = date(2026, 3, 2)


def duplicated(received: Received, rng: random.Random) -> Received:
    """The same, with one report in thirty sent again within three hours."""
    again = [
        (at + rng.randrange(1, 3 * HOUR), body) for at, body in received if rng.random() < 1 / 30
    ]
    return sorted(received + again, key=lambda each: each[0])


@pytest.mark.parametrize("k", [1, 5])
async def test_every_number_of_ten_days_of_a_large_fleet_equals_brute_force(
    databases: Databases, state_dir: Path, k: int
) -> None:
    days = [A_DAY + timedelta(days=n) for n in range(10)]
    fleet = Fleet(seed=41, servers=320, start=A_DAY, days=10)
    received = duplicated(
        [(each.received_ns, each.body) for day in days for each in fleet.day(day)],
        random.Random(41),
    )
    now = number_of(days[-1]) * DAY + DAY + 2 * HOUR
    chosen = [number_of(day) for day in days]
    oracle = Oracle(said(received), now)
    # What the seed must bring for this to show anything.
    assert max(len(oracle.days[day].servers) for day in chosen) >= 300
    assert oracle.series(chosen)["daily_upgrades"]

    network = Network(databases)
    network.create()
    network.lay_received(received)
    async with network.rollup(state_dir, k=k) as rollup:
        await rollup.roll(chosen, now)

    found, exact = network.series(), oracle.series(chosen)
    assert not unsafe(found, exact, k)
    if k == 1:
        assert not differences(found, exact)


@pytest.mark.parametrize("seed", seeds(4, 100))
async def test_every_number_of_a_random_fleet_equals_brute_force(
    databases: Databases, state_dir: Path, seed: int
) -> None:
    rng = random.Random(seed)
    k = rng.choice((1, 1, 2, 5))
    # A good part of the fleets live long enough for every window to close.
    days, servers = (rng.randint(33, 40), 3) if seed % 5 == 0 else (rng.randint(3, 9), 9)
    received = random_fleet(seed, days=days, servers=servers, untidy=seed % 2 == 1)
    # The last day of some is open still.
    until = (EPOCH + days) * DAY
    now = until + rng.choice((2 * HOUR, HOUR, HOUR - 1000, -rng.randrange(DAY)))
    received = [each for each in received if each[0] < now]
    chosen = range(EPOCH, min(EPOCH + days, now // DAY + 1))

    network = Network(databases)
    network.create()
    network.lay_received(received)
    # Ranges take as many times as long, and long windows by ranges have a test of their own.
    planner = UP_TO_1_GIB if seed % 5 == 0 else forced(rng)
    async with network.rollup(state_dir, k=k, planner=planner) as rollup:
        await rollup.roll(chosen, now)

    found, exact = network.series(), Oracle(said(received), now).series(chosen)
    assert not unsafe(found, exact, k)
    if k == 1:
        assert not differences(found, exact)


def forced(rng: random.Random) -> Planner:
    """Plan each computation by another number of ranges, in slices of a few rows."""
    return lambda _rows, _units: Plan(rng.choice((1, 2, 7)), slice_rows=rng.choice((1, 5, 1000)))


async def test_any_number_of_ranges_publishes_the_same_points(
    databases: Databases, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = random_fleet(113, days=33, servers=8)
    now, last = (EPOCH + 33) * DAY - HOUR, range(EPOCH + 31, EPOCH + 33)
    received = [each for each in received if each[0] < now]
    exact = Oracle(said(received), now).series(last)
    assert exact["daily_upgrades"]
    network = Network(databases)
    network.create()
    network.lay_received(received)
    # Each finds the days before as those of another number of ranges have cached them.
    hours = []
    for ranges in (2, 7, 1):
        plan = Plan(ranges, slice_rows=40)
        if ranges == 1:
            # As if the day were large: its steps are computed in turn, and nothing is kept.
            monkeypatch.setattr("collector.rollup.compute._SIDE_BY_SIDE", 0)
        async with network.rollup(state_dir, planner=lambda *_, plan=plan: plan) as rollup:
            await rollup.roll(last, now, force=True)
        found = network.series()
        # What was expected of an hour depends on stored days, of which there are none here.
        hours.append(found.pop("hourly_usage"))
        assert not differences(found | {"hourly_usage": exact["hourly_usage"]}, exact)
        # The points are computed, not left as they were.
        for measurement in TAGS:
            databases.server.query(f"DROP MEASUREMENT {measurement}", databases.daily)
    assert len(hours[0]) == 47
    assert hours[0] == hours[1] == hours[2]
