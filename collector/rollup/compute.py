"""Computes all points of one UTC day from its raw rows, by ranges of pseudonyms."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import reduce
from operator import add
from typing import Final

from collector.days import NS_PER_HOUR, ONE_DAY, day_ns
from collector.influx import Influx
from collector.influx.contents import Span
from collector.lazy import FRAMES, load, pl
from collector.rollup.cache import Basis, FactsCache, RawCount, Replacement
from collector.rollup.facts import DayFacts, DayTables, DayUnits
from collector.rollup.hourly import Hour, expect, history_of, hourly_fields, hours_of, stored_hours
from collector.rollup.inputs import DayInputs, StoredDay, hours_over, is_final
from collector.rollup.listed import covered, sample_fields
from collector.rollup.lookback import HISTORY_DAYS, PRESENCE_DAYS
from collector.rollup.points import Points, package_points, upgrade_points, usage_points
from collector.rollup.ranges import WHOLE, Plan, Range
from collector.rollup.raw import read_rows, span_of
from collector.rollup.spill import DayRows
from collector.rollup.store import Change, stored_points_each
from collector.rollup.windows import (
    Presence,
    WindowCounts,
    advance,
    empty_presence,
    moves_of,
    nodes_of_month,
    upgrades,
    window_counts,
)
from collector.schema import (
    DAILY_NODES,
    DAILY_PACKAGES,
    DAILY_SERVERS,
    DAILY_UPGRADES,
    DAILY_USAGE,
    FINAL,
    HOURLY_USAGE,
    Measurement,
)

_WINDOW_FIELDS: Final = tuple(WindowCounts.__dataclass_fields__)
_SAMPLE_FIELDS: Final = ("listed_nodes", "coverage")
MEASUREMENTS: Final = (
    DAILY_NODES,
    DAILY_PACKAGES,
    DAILY_SERVERS,
    DAILY_UPGRADES,
    DAILY_USAGE,
    HOURLY_USAGE,
)
"""Measurements that a day's rollup writes."""
_SIDE_BY_SIDE: Final = 250_000
"""Up to so many rows, the steps of a day are computed side by side: together they take little
memory. Those of a larger day, or of a range of it, are computed in turn."""

Planner = Callable[[int, int], Plan]
"""Plans a day by its number of raw rows, and of nodes and servers in the 31 days up to it."""


class Outcome(StrEnum):
    """Result of the rollup of a day."""

    WRITTEN = "written"
    EMPTY = "empty"
    """The day is before the first report of the series, so nothing is stored."""
    EXPIRED = "expired"
    """Raw data may have begun to expire; the stored day is left unchanged."""
    IMPORTED = "imported"
    """The day was imported from an older server's database and is left unchanged."""
    ERASED = "erased"
    """Owners erased reports of it or of days in its windows; it is left as published."""
    ERASING = "erasing"
    """An erasure of some of its reports is unfinished; until it is done, it is left unchanged."""
    REFUSED = "refused"
    """A final day would have lost over 20 %; it is left unchanged unless forced."""


@dataclass(frozen=True, slots=True)
class DayResult:
    """Outcome of a day's rollup and the headline numbers that were computed."""

    day: date
    outcome: Outcome
    reports: int = 0
    servers: int = 0
    nodes: int = 0
    final: bool = False
    failed: Exception | None = None
    """The error that prevented computing windows or hours, which are left as stored."""


@dataclass(frozen=True, slots=True)
class ComputedDay:
    """All points that should be stored of a day, by measurement, and their basis.

    Measurements that could not be computed (`result.failed`) are left out.
    """

    result: DayResult
    points: Mapping[Measurement, Points]
    basis: Basis

    def changes(self, stored: Mapping[Measurement, Points]) -> list[Change]:
        """The changes that store the points in place of those `stored`, the headline's last."""
        return [
            Change(each, span_stored(each, self.result.day), stored[each], self.points[each])
            for each in sorted(self.points, key=lambda each: each is DAILY_USAGE)
        ]


@dataclass(slots=True)
class DaySums:
    """Numbers of a day that add up over its ranges; those of failed parts are incomplete.

    `is_empty` tells that the day is before the first report of the series. `stored` are the day's
    stored points, `history` the stored points of the hours of the week before. `published` are the
    points of its tables.
    """

    inputs: DayInputs
    now: datetime
    basis: Basis
    is_empty: bool = False
    stored: Mapping[Measurement, Points] = field(default_factory=dict)
    history: Points = field(default_factory=dict)
    tables: list[DayTables] = field(default_factory=list)
    published: Mapping[Measurement, Points] = field(default_factory=dict)
    windows: list[WindowCounts] = field(default_factory=list)
    moves: list[pl.DataFrame] = field(default_factory=list)
    hours: list[list[Hour]] = field(default_factory=list)
    listed: int | None = None
    covered: int = 0
    windows_failed: list[Exception] = field(default_factory=list)
    hours_failed: list[Exception] = field(default_factory=list)

    @property
    def is_past(self) -> bool:
        """Whether the node list of the day itself is no longer known."""
        is_final = self.inputs.stored_fields((FINAL.name,)).get(FINAL.name) == 1
        return is_final or self.inputs.day < self.now.date() - ONE_DAY


class Computer:
    """Computes days of one InfluxDB under a given k, with the help of cached facts.

    `listed` returns the pseudonyms of the nodes on the node list, if there is one; it may block.
    """

    def __init__(
        self,
        influx: Influx,
        *,
        k: int,
        cache: FactsCache,
        planner: Planner,
        listed: Callable[[], pl.Series | None],
    ) -> None:
        self._influx = influx
        self._k = k
        self._cache = cache
        self._plan = planner
        self._listed = listed
        self._presence: tuple[date, Basis, Presence] | None = None
        self._last: tuple[date, RawCount, DayUnits] | None = None
        """The units of a small day that the next day or run needs again."""

    def forget(self) -> None:
        """Forget the presence of the day before, and units."""
        self._presence = self._last = None

    async def sum(
        self, inputs: DayInputs, now: datetime, saving: Replacement | None = None
    ) -> DaySums:
        """Read a day's raw reports and add up its ranges, and read what is stored of it.

        `saving` takes the day's units. Raises InfluxError, OSError.
        """
        await load(FRAMES)
        day = inputs.day
        count = inputs.counts.get(day, RawCount())
        with DayRows(self._planned(inputs), self._cache.directory) as rows:
            await read_rows(self._influx, day, rows, count, marked=inputs.quarantined)
            # Rows may have arrived since they were counted.
            found = RawCount(rows.reports, rows.node_reports)
            sums = DaySums(inputs, now, inputs.basis(found))
            sums.is_empty = found.reports == 0 and not inputs.own_days_before
            parts = [] if sums.is_empty else [*rows.ranges]
            for part in parts[:-1]:
                await self._add(sums, rows, part, saving)
            # InfluxDB answers while the last range is computed. Not earlier, since another process
            # may store the day meanwhile.
            stored = asyncio.ensure_future(self._read_stored(sums))
            try:
                for part in parts[-1:]:
                    await self._add(sums, rows, part, saving)
            finally:
                await asyncio.wait([stored])
            stored.result()
        return sums

    async def _read_stored(self, sums: DaySums) -> None:
        day = sums.inputs.day
        spans = {each: span_stored(each, day) for each in MEASUREMENTS}
        spans[HOURLY_USAGE] = span_of(day - timedelta(days=HISTORY_DAYS), day)
        found = await stored_points_each(self._influx, spans)
        stored = dict(zip(MEASUREMENTS, found, strict=True))
        hours, start = stored[HOURLY_USAGE], day_ns(day)
        stored[HOURLY_USAGE] = {key: fields for key, fields in hours.items() if key[0] >= start}
        sums.history = {key: fields for key, fields in hours.items() if key[0] < start}
        sums.stored = stored

    def _planned(self, inputs: DayInputs) -> Plan:
        rows = inputs.counts.get(inputs.day, RawCount()).rows
        units = sum(count.rows for count in inputs.counts.values())
        eve = inputs.stored.get(inputs.day - ONE_DAY, StoredDay())
        if known := eve.number("nodes_30d") + eve.number("servers_30d"):
            units = min(units, known + rows)
        return self._plan(rows, units)

    async def _add(
        self, sums: DaySums, rows: DayRows, part: Range, saving: Replacement | None
    ) -> None:
        inputs, basis = sums.inputs, sums.basis
        over = hours_over(inputs.day, sums.now)
        facts = await asyncio.to_thread(rows.facts, part)
        sums.tables = [reduce(add, [*sums.tables, facts.tables])]

        async def windows() -> None:
            with _collect_errors(sums.windows_failed):
                await self._over_days(sums, before, facts, part)

        async def hours() -> None:
            with _collect_errors(sums.hours_failed):
                eve = await self._eve(inputs.day - ONE_DAY, basis, part)
                sums.hours.append(await asyncio.to_thread(hours_of, eve, facts, over))
                if inputs.day < sums.now.date():
                    self._keep(inputs.day, basis, part, facts.units)

        async def published() -> None:
            sums.published = await asyncio.to_thread(self._published, sums)

        saved = asyncio.ensure_future(asyncio.to_thread(_save, saving, part, facts))
        try:
            steps: list[Callable[[], Awaitable[None]]] = []
            if inputs.has_windows and not sums.windows_failed:
                # Not beside the hours: both may read the day before and cache it.
                with _collect_errors(sums.windows_failed):
                    before = await self._presence_before(inputs.day, basis, part)
                    steps.append(windows)
            if inputs.has_hours and not sums.hours_failed:
                steps.append(hours)
            if part.number == part.of - 1:
                steps.append(published)
            await _all(steps, side_by_side=rows.reports + rows.node_reports <= _SIDE_BY_SIDE)
        finally:
            await saved

    def points(self, sums: DaySums) -> ComputedDay:
        """Compute all points of a day from the sums over its ranges."""
        inputs, day = sums.inputs, sums.inputs.day
        start, final = day_ns(day), is_final(day, sums.now)
        if sums.is_empty:
            result = DayResult(day, Outcome.EMPTY, final=final)
            return ComputedDay(result, {m: {} for m in MEASUREMENTS}, sums.basis)
        [tables] = sums.tables
        points: dict[Measurement, Points] = {}
        # Windows over expired days keep the values computed while the raw data existed.
        windows = inputs.stored_fields(_WINDOW_FIELDS)
        # Which nodes were listed on a day is known on that day only.
        sample = inputs.stored_fields(_SAMPLE_FIELDS if sums.is_past else ())
        if sums.windows and not sums.windows_failed:
            windows |= asdict(reduce(add, sums.windows))
            moves = upgrades(pl.concat(sums.moves), tables.node_profiles)
            points[DAILY_UPGRADES] = upgrade_points(moves, start, k=self._k, final=final)
            if sums.listed is not None:
                sample |= sample_fields(sums.listed, sums.covered, self._k)
        if sums.hours and not sums.hours_failed:
            with _collect_errors(sums.hours_failed):
                hours = [reduce(add, each) for each in zip(*sums.hours, strict=True)]
                points[HOURLY_USAGE] = _expected(day, hours, sums.history)
        published = inputs.opted_out // self._k * self._k
        counted = {"opted_out_reports": published} if published else {}
        points |= sums.published
        points[DAILY_USAGE] = {
            key: fields | windows | sample | counted for key, fields in points[DAILY_USAGE].items()
        }
        failed = [*sums.windows_failed, *sums.hours_failed, None][0]
        result = DayResult(
            day, Outcome.WRITTEN, tables.reports, tables.servers, tables.nodes, final, failed
        )
        return ComputedDay(result, points, sums.basis)

    def _published(self, sums: DaySums) -> dict[Measurement, Points]:
        """Compute the points that a day's own tables tell, without its windows and hours."""
        [tables] = sums.tables
        start, final = day_ns(sums.inputs.day), is_final(sums.inputs.day, sums.now)
        usage, nodes, servers = usage_points(tables, start, k=self._k, final=final)
        packages = package_points(tables, start, k=self._k, final=final)
        return {
            DAILY_USAGE: usage,
            DAILY_NODES: nodes,
            DAILY_SERVERS: servers,
            DAILY_PACKAGES: packages,
        }

    async def _over_days(
        self, sums: DaySums, before: Presence, facts: DayFacts, part: Range
    ) -> None:
        """Add the window counts, upgrades and the sample of a range."""
        day = sums.inputs.day
        sums.moves.append(await asyncio.to_thread(moves_of, before, facts.units))
        after = await asyncio.to_thread(advance, before, facts.units)
        if day < sums.now.date() and part == WHOLE:
            self._presence = (day, sums.basis, after)
        sums.windows.append(window_counts(after))
        listed = None if sums.is_past else await asyncio.to_thread(self._listed)
        if listed is not None:
            sums.listed = len(listed)
            sums.covered += await asyncio.to_thread(covered, listed, nodes_of_month(after))

    async def _presence_before(self, day: date, basis: Basis, part: Range) -> Presence:
        """The presence at the end of the day before `day`. Raises InfluxError, OSError."""
        first, eve = day - timedelta(days=PRESENCE_DAYS - 1), day - ONE_DAY
        if self._presence is not None and part == WHOLE:
            at, known, presence = self._presence
            # The remembered presence is valid if the counts of all days it covers are unchanged.
            if at == eve and _between(known, first, eve) == _between(basis, first, eve):
                return presence
        self._presence = None
        presence = empty_presence()
        for back in range(PRESENCE_DAYS - 1, 0, -1):
            units = await self._units(day - timedelta(days=back), basis, part)
            # Without reports before, there is nobody to age.
            if (
                units is not None
                or not presence.nodes.is_empty()
                or not presence.servers.is_empty()
            ):
                presence = await asyncio.to_thread(advance, presence, units)
        if part == WHOLE:
            self._presence = (eve, basis, presence)
        return presence

    async def _eve(self, day: date, basis: Basis, part: Range) -> DayUnits | None:
        """The units of the day before, like `_units`, but kept in memory if they are few."""
        if self._last is not None and part == WHOLE:
            at, count, units = self._last
            if at == day and basis.get(day) == count:
                return units
        found = await self._units(day, basis, part)
        self._keep(day, basis, part, found)
        return found

    def _keep(self, day: date, basis: Basis, part: Range, units: DayUnits | None) -> None:
        count = basis.get(day)
        if units is not None and count is not None and part == WHOLE:
            self._last = (day, count, units) if count.rows <= _SIDE_BY_SIDE else None

    async def _units(self, day: date, basis: Basis, part: Range) -> DayUnits | None:
        """The units of a day, cached or read; None if the basis counts no reports of it."""
        count = basis.get(day)
        if count is None:
            return None
        units = await asyncio.to_thread(self._cache.load, day, count, part)
        return units or await self._read_units(day, count, part)

    async def _read_units(self, day: date, count: RawCount, part: Range) -> DayUnits:
        """Read a day, cache its units and return those of a range. Raises InfluxError, OSError."""
        found = None
        with (
            DayRows(self._plan(count.rows, count.rows), self._cache.directory) as rows,
            self._cache.replace(day) as saving,
        ):
            await read_rows(self._influx, day, rows)
            for each in rows.ranges:
                facts = await asyncio.to_thread(rows.facts, each)
                if each == part:
                    found = facts.units
                await asyncio.to_thread(saving.add, each, facts.units)
            await asyncio.to_thread(saving.commit, count)
        units = found or await asyncio.to_thread(self._cache.load, day, count, part)
        if units is None:
            raise OSError(f"the facts of {day} could not be cached")
        return units


def span_stored(measurement: Measurement, day: date) -> Span:
    """The span of a day's points of one of `MEASUREMENTS`."""
    start = day_ns(day)
    return span_of(day, day) if measurement is HOURLY_USAGE else Span(start, start + 1)


def _expected(day: date, hours: Sequence[Hour], history: Points) -> Points:
    """The points of a day's hours, with what was expected of them."""
    start = day_ns(day)
    known = stored_hours({time: fields for (time, _), fields in history.items()})
    times = range(start, start + len(hours) * NS_PER_HOUR, NS_PER_HOUR)
    return {
        (time, ()): hourly_fields(expect(hour, history_of(known, time)))
        for time, hour in zip(times, hours, strict=True)
    }


async def _all(steps: Sequence[Callable[[], Awaitable[None]]], *, side_by_side: bool) -> None:
    """Take steps side by side or in turn; see `all_ended`."""
    if not side_by_side:
        for step in steps:
            await step()
        return
    await all_ended(*(step() for step in steps))


async def all_ended(*steps: Awaitable[None]) -> None:
    """Wait until all steps have ended, after an error too; then raise the first error."""
    for error in await asyncio.gather(*steps, return_exceptions=True):
        if error is not None:
            raise error


def _save(saving: Replacement | None, part: Range, facts: DayFacts) -> None:
    if saving is not None:
        saving.add(part, facts.units)


@contextmanager
def _collect_errors(failed: list[Exception]) -> Iterator[None]:
    """Append an error in one part of a day to `failed`, so that the rest is computed."""
    try:
        yield
    # The part may need another day whose rows are malformed or cannot be read completely.
    except Exception as error:  # noqa: BLE001
        failed.append(error)


def _between(basis: Basis, first: date, last: date) -> Basis:
    return {day: count for day, count in basis.items() if first <= day <= last}
