"""Fleets that call themselves anything, computed without InfluxDB, against brute force.

Fixed seeds; `FLEETS=10000 pytest tests/unit/test_rollup_untidy.py` is the long form.
"""

from __future__ import annotations

import os
import random
from collections import defaultdict
from dataclasses import asdict
from typing import Final

import pytest

from collector.lines import Point, parse
from collector.rollup.facts import DayFacts, Rows, columns, gather
from collector.rollup.points import (
    package_points,
    upgrade_points,
    usage_points,
)
from collector.rollup.windows import advance, empty_presence, window_counts
from collector.schema import NODE_REPORT, SERVER_REPORT, Measurement
from tests.days import answer, upgrades
from tests.fleets import EPOCH, Received, random_fleet
from tests.network import differences, lines_of
from tests.oracle import DAY, HOUR, Oracle, Series, said
from tests.safety import unsafe

FLEETS: Final = int(os.environ.get("FLEETS", "120"))
SHARES: Final = max(8, FLEETS // 50)
MEASURED: Final = (
    "daily_usage",
    "daily_nodes",
    "daily_servers",
    "daily_packages",
    "daily_upgrades",
)


def facts_of(points: list[Point]) -> DayFacts:
    """A day's facts from its raw points, by way of the text that InfluxDB would answer."""

    def rows(measurement: Measurement) -> Rows:
        cells = [
            [
                str(point.time),
                *(
                    str((dict(point.tags) | dict(point.fields)).get(name, ""))
                    for name in columns(measurement)
                ),
            ]
            for point in sorted(points, key=lambda each: each.time)
            if point.measurement == measurement.name
        ]
        return Rows(measurement).add(answer(measurement, cells))

    return gather(rows(NODE_REPORT).frame(), rows(SERVER_REPORT).frame())


def series_of(received: Received, days: range, k: int) -> Series:
    """What the product publishes of these days, but for the hours."""
    by_day: dict[int, list[Point]] = defaultdict(list)
    for line in lines_of(received):
        point = parse(line)
        by_day[point.time // DAY].append(point)
    series: Series = {name: {} for name in MEASURED}
    before = empty_presence()
    for day in days:
        facts, time = facts_of(by_day[day]), day * DAY
        after = advance(before, facts.units)
        windows = asdict(window_counts(after))
        usage, nodes, servers = usage_points(facts.tables, time, k=k, final=True)
        usage = {key: fields | windows for key, fields in usage.items()}
        packages = package_points(facts.tables, time, k=k, final=True)
        moves = upgrade_points(upgrades(before, facts), time, k=k, final=True)
        found = (usage, nodes, servers, packages, moves)
        for name, points in zip(MEASURED, found, strict=True):
            series[name] |= points
        before = after
    return series


@pytest.mark.no_cover  # the slow repetition of what other tests cover
@pytest.mark.parametrize("share", range(SHARES))
def test_every_number_of_untidy_fleets_equals_brute_force_and_is_safe(share: int) -> None:
    for seed in range(share, FLEETS, SHARES):
        rng = random.Random(seed)
        k = rng.choice((1, 1, 2, 3, 5))
        # Now and then long enough for a window to close.
        days = rng.randint(31, 34) if seed % 41 == 0 else rng.choice((1, 2, 2, 3))
        received = random_fleet(seed, days=days, servers=rng.randint(1, 12), untidy=True)
        chosen = range(EPOCH, EPOCH + days)
        exact = Oracle(said(received), (EPOCH + days) * DAY + 2 * HOUR).series(chosen)

        found = series_of(received, chosen, k)

        exact["hourly_usage"] = found["hourly_usage"] = {}
        assert not unsafe(found, exact, k), f"seed {seed}"
        if k == 1:
            assert not differences(found, exact), f"seed {seed}"
