"""Test data in a real InfluxDB: the product's intake and rollup fill it, InfluxQL reads it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from collector.influx import Influx
from collector.intakes.asl.points import Accepted, ReportConverter
from collector.lines import Stamper
from collector.metrics import Metrics
from collector.privacy import Pseudonymiser
from collector.rollup.cache import FactsCache
from collector.rollup.compute import DayResult, Planner
from collector.rollup.daily import UP_TO_1_GIB, Daily
from collector.rollup.events import Events
from collector.rollup.reconcile import Reconciler
from collector.rollup.schedule import Schedule
from collector.schema.budgets import ASL_BUDGETS
from collector.tag_budget import TagBudget
from tests.conftest import Databases
from tests.oracle import DAY, Points, Series
from tests.sender import KEY, node_name

TAGS = {
    "daily_usage": (),
    "daily_nodes": ("dimension", "value", "within", "within_value"),
    "daily_servers": ("dimension", "value", "within", "within_value"),
    "daily_packages": ("package", "upstream", "version"),
    "daily_upgrades": ("from_version", "to_version"),
    "hourly_usage": (),
}
MICROSECOND = timedelta(microseconds=1)
_BATCH = 2000


class AnyNode:
    """A node list that contains every number."""

    def lists(self, node: int) -> bool:
        return True


def converter(*, instance: int = 0, last: int = 0) -> ReportConverter:
    """Build the converter of a collector's intake; the test gives the times."""
    return ReportConverter(
        pseudonyms=Pseudonymiser(KEY),
        stamper=Stamper(instance=instance, last=last),
        budget=TagBudget(ASL_BUDGETS, memory_days=90),
        nodelist=AnyNode(),
        metrics=Metrics(),
    )


def lines_of(
    received: Iterable[tuple[int, bytes]], understood: ReportConverter | None = None
) -> list[str]:
    """Convert submissions to lines, in order; those that the intake refuses give none."""
    intake = understood or converter()
    outcomes = (intake.of(body, at) for at, body in received)
    return [
        line
        for outcome in outcomes
        if isinstance(outcome, Accepted)
        for line in outcome.entry.lines.decode().splitlines()
    ]


def moment(time_ns: int) -> datetime:
    """Convert ns since 1970 to a datetime, cut to microseconds."""
    return datetime(1970, 1, 1, tzinfo=UTC) + time_ns // 1000 * MICROSECOND


def ns(at: datetime) -> int:
    """Convert a datetime to ns since 1970."""
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // MICROSECOND * 1000


def day_of(number: int) -> date:
    """The date this many days after 1970-01-01."""
    return moment(number * DAY).date()


def number_of(day: date) -> int:
    """The number of days from 1970-01-01 to a date."""
    return (day - date(1970, 1, 1)).days


@dataclass(frozen=True)
class Rollup:
    """The rollup of a collector: its InfluxDB, its k, and the cache in its state directory."""

    influx: Influx
    k: int
    retention_s: int
    state: Path
    planner: Planner = UP_TO_1_GIB

    def daily(self) -> Daily:
        """Build the daily rollup, as in a process that has just started."""
        cache = FactsCache(self.state, k=self.k)
        return Daily(
            self.influx,
            k=self.k,
            retention_s=self.retention_s,
            cache=cache,
            planner=self.planner,
        )

    def reconciler(self) -> Reconciler:
        cache = FactsCache(self.state, k=self.k)
        return Reconciler(self.influx, retention_s=self.retention_s, cache=cache)

    async def roll(self, days: Iterable[int], now: int, *, force: bool = False) -> list[DayResult]:
        """Compute these days in this order."""
        daily = self.daily()
        return [await daily.roll(day_of(day), moment(now), force=force) for day in days]

    async def mark(self, now: int) -> None:
        """Bring the events up to date, as at `now`."""
        await Events(self.influx).update(moment(now))

    async def due(self, now: int) -> list[int]:
        return [number_of(day) for day in await self.reconciler().due(moment(now))]

    def schedule(
        self,
        clock: Callable[[], int],
        metrics: Metrics,
        changed: Callable[[], None] = lambda: None,
    ) -> Schedule:
        """Build the schedule of a collector that has just started, with a clock in ns."""
        return Schedule(
            self.daily(),
            self.reconciler(),
            metrics,
            changed=changed,
            clock=lambda: moment(clock()),
        )

    async def reconcile(self, now: int, metrics: Metrics | None = None) -> None:
        """Run the schedule once, as in a collector that has just started."""
        assert await self.schedule(lambda: now, metrics or Metrics()).once()


@dataclass(frozen=True)
class Network:
    """The raw and public databases of a test."""

    databases: Databases

    def create(self) -> None:
        """Create both databases with unlimited retention."""
        for name in (self.databases.raw, self.databases.daily):
            self.databases.server.create(name)

    def lay(self, lines: list[str]) -> None:
        """Write lines to the raw database."""
        for first in range(0, len(lines), _BATCH):
            batch = "\n".join(lines[first : first + _BATCH])
            self.databases.server.write(self.databases.raw, batch)

    def lay_received(self, received: Iterable[tuple[int, bytes]]) -> None:
        """Convert submissions and write their lines to the raw database."""
        self.lay(lines_of(received))

    def publish(self, lines: list[str]) -> None:
        """Write lines to the public database, as if an earlier run had left them."""
        self.databases.server.write(self.databases.daily, "\n".join(lines))

    def erase_node(self, number: int, *, since: int = 0) -> int:
        """Delete a node's raw points one by one; return their number."""
        server, raw = self.databases.server, self.databases.raw
        where = f"\"node\" = '{node_name(number)}' AND time >= {since}"
        rows = server.query(f"SELECT node FROM node_report WHERE {where}", raw)
        for row in rows:
            server.query(f"DELETE FROM node_report WHERE time = {row['time']}", raw)
        return len(rows)

    def found(self, measurement: str) -> Points:
        """All points of a public measurement."""
        rows = self.databases.server.query(
            f"SELECT * FROM {measurement} GROUP BY *", self.databases.daily
        )
        points: Points = {}
        for row in rows:
            tags = tuple((name, row.pop(name)) for name in TAGS[measurement])
            key = (row.pop("time"), tags)
            assert key not in points
            points[key] = {name: value for name, value in row.items() if value is not None}
        return points

    def series(self) -> Series:
        """All points of all public measurements."""
        return {measurement: self.found(measurement) for measurement in TAGS}

    @asynccontextmanager
    async def rollup(
        self,
        state: Path,
        *,
        k: int = 1,
        retention_s: int = 0,
        planner: Planner = UP_TO_1_GIB,
    ) -> AsyncIterator[Rollup]:
        """A rollup of these databases from entry to exit."""
        async with influx_of(self.databases) as influx:
            yield Rollup(influx, k, retention_s, state, planner)


def influx_of(databases: Databases) -> Influx:
    """The product's InfluxDB client for these databases."""
    server = databases.server
    return Influx(server.url, token=server.token, org=server.org, prefix=databases.prefix)


def differences(found: Series, expected: Series) -> list[str]:
    """Describe each point that differs; an empty list if there is none."""
    return [
        f"{measurement} {moment(time):%m-%d %H:%M} {dict(tags)}:"
        f" {found[measurement].get((time, tags))} is not {expected[measurement].get((time, tags))}"
        for measurement in sorted(expected)
        for time, tags in sorted(found[measurement].keys() | expected[measurement])
        if found[measurement].get((time, tags)) != expected[measurement].get((time, tags))
    ]
