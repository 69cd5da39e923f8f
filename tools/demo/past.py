"""Lays down the past of the demo: all that its senders sent up to a moment, each at its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

from prometheus_client import generate_latest

from collector import parts
from collector.days import day_ns
from collector.influx import Influx
from collector.influx.writing import write_all
from collector.metrics import Metrics
from collector.schema import LIVE
from collector.schema.budgets import ASL_BUDGETS
from collector.settings import Settings
from collector.state import ROLLUP_LOCK, SharedLock, pseudonym_key
from tools.demo import hosts
from tools.demo.senders import Senders, lay_installs, lay_records
from tools.simulation.fleet import Fleet, Submission
from tools.simulation.installs import until
from tools.simulation.sending import Tally, converter_of_past, lay_down

_SEED: Final = 1
_AHEAD_DAYS: Final = 7
"""Days after today that the fleet has too, for a demo that runs past midnight."""
_NS: Final = 10**9
OUTAGE_NS: Final = 7 * 3600 * _NS
"""Length of the outage: longer than the rules look back, at any hour."""


class Story(StrEnum):
    """What the demo tells: all is well, or the collector has refused all reports for hours."""

    HEALTHY = "healthy"
    OUTAGE = "outage"


@dataclass(frozen=True)
class Cast:
    """The senders of a demo at `now_ns`, with `servers` that have reported for `days`."""

    now_ns: int
    fleet: Fleet
    senders: Senders
    days: list[date]
    story: Story

    @classmethod
    def of(cls, now_ns: int, *, servers: int, days: int, story: Story) -> Cast:
        """Make up the senders."""
        today = datetime.fromtimestamp(now_ns // _NS, UTC).date()
        start = today - timedelta(days=days - 1)
        return cls(
            now_ns=now_ns,
            fleet=Fleet(seed=_SEED, servers=servers, start=start, days=days + _AHEAD_DAYS),
            senders=Senders.until(today, seed=_SEED),
            days=[start + timedelta(days=n) for n in range(days)],
            story=story,
        )

    @property
    def now(self) -> datetime:
        """The end of its past."""
        return datetime.fromtimestamp(self.now_ns / _NS, UTC)

    @property
    def heard_until_ns(self) -> int:
        """The time up to which reports were accepted."""
        return self.now_ns - (OUTAGE_NS if self.story is Story.OUTAGE else 0)

    def day(self, day: date) -> list[Submission]:
        """The fleet's reports of a day up to now, refused ones too."""
        since = day_ns(day)
        return self.fleet.between(since, min(since + 86_400 * _NS, self.now_ns))


@dataclass
class Laid:
    """What was laid down: `reports` of the fleet, and when each arrived, refused ones too.

    `exposition` are the metrics of the intake that took them, as text. `roll_s` is the mean time in
    which a day was counted.
    """

    reports: Tally = field(default_factory=Tally)
    arrivals: list[int] = field(default_factory=list)
    exposition: str = ""
    installs: int = 0
    records: int = 0
    roll_s: float = 0.1


async def lay_fleet(
    cast: Cast, settings: Settings, influx: Influx, *, done: Callable[[], object]
) -> Laid:
    """Store the fleet's reports up to now; `done` is called after each day. Raises InfluxError."""
    laid = Laid()

    def days() -> Iterator[list[Submission]]:
        for day in cast.days:
            sent = cast.day(day)
            laid.arrivals += [each.received_ns for each in sent]
            yield [each for each in sent if each.received_ns < cast.heard_until_ns]

    metrics = Metrics()
    converter = converter_of_past(
        pseudonym_key(settings.key_file, settings.state_dir),
        instance=settings.instance,
        budgets=ASL_BUDGETS,
        memory_days=len(cast.days),
        metrics=metrics,
    )
    laid.reports = await lay_down(days(), converter, influx, done=done)
    laid.exposition = generate_latest(metrics.registry).decode()
    return laid


async def lay_others(cast: Cast, settings: Settings, influx: Influx, laid: Laid) -> None:
    """Store what the other senders sent up to now, and the figures of the Asterisks' hosts.

    Raises InfluxError, RecordsError.
    """
    key = pseudonym_key(settings.key_file, settings.state_dir)
    days = cast.senders.days
    installs = [each for day in days for each in cast.senders.installs.day(day)]
    laid.installs = await lay_installs(until(installs, cast.heard_until_ns), influx, settings, key)
    records = [each for day in days for each in cast.senders.machines.day(day)]
    laid.records = await lay_records(
        [each for each in records if each.received_ns <= cast.heard_until_ns], influx, settings, key
    )
    points = list(hosts.past(cast.now_ns // _NS))
    await write_all(influx, LIVE, "the hosts' past", points)


async def count_days(
    cast: Cast, settings: Settings, influx: Influx, *, done: Callable[[], object]
) -> None:
    """Compute all daily series as at the cast's now; `done` is called after each day.

    Raises InfluxError, StoreUnavailable.
    """
    daily = parts.daily_of(settings, influx)
    # Each quarter of an hour the collector computes days too, with the same cache.
    lock = SharedLock(settings.state_dir / ROLLUP_LOCK)
    for day in cast.days:
        async with lock:
            await daily.roll(day, cast.now)
        done()
    async with lock:
        for series in parts.other_days_of(settings, influx):
            for day in await series.due(cast.now):
                await series.roll(day, cast.now)
