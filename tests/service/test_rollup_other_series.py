"""Another sender's series beside the first: what fails in it is its own, and is tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from collector.influx import InfluxError, InfluxUnavailable
from collector.metrics import Metrics
from collector.rollup.schedule import RolledDay, Schedule
from tests.conftest import Databases
from tests.network import Network

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAYS = [date(2026, 11, day) for day in (17, 18, 19)]


@dataclass
class Series:
    """Days of a sender whose computing has the outcomes that a test gives."""

    outcomes: dict[date, RolledDay | Exception]
    fails: Exception | None = None
    name: str = "toys"
    rolled: list[date] = field(default_factory=list)

    async def due(self, now: datetime) -> list[date]:
        if self.fails is not None:
            raise self.fails
        return list(self.outcomes)

    async def roll(self, day: date, now: datetime, *, force: bool = False) -> RolledDay:
        self.rolled.append(day)
        outcome = self.outcomes[day]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture
def network(databases: Databases) -> Network:
    made = Network(databases)
    made.create()
    return made


async def ran(
    network: Network, state_dir: Path, series: Series, *, times: int = 1
) -> tuple[list[bool], Callable[[str], float], list[None]]:
    """Run the schedule some times; its results, its metrics by name, and a mark for each change."""
    metrics, changes = Metrics(), list[None]()
    async with network.rollup(state_dir) as rollup:
        schedule = Schedule(
            rollup.daily(),
            rollup.reconciler(),
            metrics,
            changed=lambda: changes.append(None),
            others=[series],
            clock=lambda: NOW,
        )
        results = [await schedule.once() for _ in range(times)]

    def value(name: str, **labels: str) -> float:
        return metrics.registry.get_sample_value(name, labels) or 0.0

    return results, value, changes


async def test_day_that_fails_is_skipped_and_does_not_delay_the_others(
    network: Network, state_dir: Path
) -> None:
    series = Series(
        {
            DAYS[0]: RolledDay("written", 3, final=True),
            DAYS[1]: ValueError("malformed"),
            DAYS[2]: RolledDay("written", 4),
        }
    )
    results, value, changes = await ran(network, state_dir, series, times=2)
    assert results == [True, True]
    # The failed day waits before it is tried again.
    assert series.rolled == [*DAYS, DAYS[0], DAYS[2]]
    assert value("collector_rollup_days_failing") == 1
    assert len(changes) == 4


async def test_refused_day_is_counted_until_it_is_no_longer_due(
    network: Network, state_dir: Path
) -> None:
    series = Series({DAYS[0]: RolledDay("refused", 1)})
    _, value, changes = await ran(network, state_dir, series, times=2)
    assert value("collector_rollup_days_refused") == 1
    assert not changes
    series.outcomes.clear()
    _, value, _ = await ran(network, state_dir, series)
    assert value("collector_rollup_days_refused") == 0


@pytest.mark.parametrize(
    "series",
    [
        Series({}, fails=InfluxError("no")),
        Series(dict.fromkeys(DAYS, InfluxUnavailable("away"))),
    ],
    ids=["due", "roll"],
)
async def test_series_that_cannot_be_read_makes_the_schedule_try_again_soon(
    network: Network, state_dir: Path, series: Series
) -> None:
    results, value, _ = await ran(network, state_dir, series)
    assert results == [False]
    assert len(series.rolled) <= 1
    assert value("collector_rollup_last_success_timestamp_seconds") == 0
