"""One UTC day: its raw rows read, counted, made safe, and stored; what is stale is removed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from collector.days import day_ns
from collector.influx import Influx
from collector.lines import FieldValue
from collector.rollup.cache import Basis, FactsCache, RawCount
from collector.rollup.facts import DayFacts
from collector.rollup.hourly import HISTORY_DAYS, expect, history_of, hours_of, stored_hours
from collector.rollup.points import (
    Points,
    hourly_points,
    package_points,
    upgrade_points,
    usage_points,
    window_fields,
)
from collector.rollup.raw import read_facts, span_of
from collector.rollup.standing import (
    Standing,
    StoredDay,
    hours_over,
    is_final,
    may_have_expired,
    own_days_before,
    standing,
)
from collector.rollup.store import Span, store, stored_points
from collector.rollup.windows import DAYS, Presence, advance, nobody, upgrades, window_counts
from collector.schema import (
    DAILY,
    DAILY_NODES,
    DAILY_PACKAGES,
    DAILY_SERVERS,
    DAILY_UPGRADES,
    DAILY_USAGE,
    HOURLY_USAGE,
    MEASUREMENTS,
    Measurement,
)

WINDOW_FIELDS: Final = (
    "nodes_7d",
    "nodes_30d",
    "servers_7d",
    "servers_30d",
    "new_nodes",
    "lapsed_nodes",
)
_KEPT_SHARE: Final = 0.8
_HOUR_NS: Final = 3600 * 10**9
_ONE_DAY: Final = timedelta(days=1)


class Outcome(StrEnum):
    """What a run over a day came to."""

    WRITTEN = "written"
    EMPTY = "empty"
    """There is nothing to say of a day before the first report, and nothing is stored of it."""
    EXPIRED = "expired"
    """Raw data may have begun to expire; the day stays as it is."""
    IMPORTED = "imported"
    """The day came from an older server's database and stays as it is."""
    ERASED = "erased"
    """Owners erased reports of it, or of days that its windows reach; it stays as published."""
    REFUSED = "refused"
    """A final day would have lost over 20 %; it stays as it is unless forced."""


@dataclass(frozen=True, slots=True)
class DayResult:
    """A day, what the run came to, and the headline numbers that were computed."""

    day: date
    outcome: Outcome
    reports: int = 0
    servers: int = 0
    nodes: int = 0
    final: bool = False
    failed: Exception | None = None
    """What kept its windows or its hours from being computed; these stay as they are stored."""


@dataclass(frozen=True, slots=True)
class ComputedDay:
    """All that a day should be: points by measurement, each over its span, and their basis.

    What failed (`result.failed`) is not among the points.
    """

    result: DayResult
    points: Mapping[Measurement, Points]
    facts: DayFacts
    basis: Basis


class Daily:
    """Rolls up days of one InfluxDB under a given k; `retention_s` is raw retention (0: ever)."""

    def __init__(self, influx: Influx, *, k: int, retention_s: int, cache: FactsCache) -> None:
        self._influx = influx
        self._k = k
        self._retention_s = retention_s
        self._cache = cache
        self._presence: tuple[date, Basis, Presence] | None = None

    async def roll(self, day: date, now: datetime, *, force: bool = False) -> DayResult:
        """Compute a day from all of its raw reports and store it. Doing it again changes nothing.

        A day without reports is stored as zeros, unless it is before the first day of the series.
        Where an earlier day or its hours cannot be read, the rest of it is stored all the same, and
        it stays due. Raises InfluxError.
        """
        around = await self.look(day, now)
        if (kept := await self.kept(around, now, force=force)) is not None:
            if kept is Outcome.ERASED:
                # It may have been due only because what it was computed from was not known.
                await asyncio.to_thread(self._cache.record, day, around.basis())
            return DayResult(day, kept)
        computed = await self._compute(around, now)
        result = computed.result
        if not force and _would_lose(around.itself, result):
            return replace(result, outcome=Outcome.REFUSED)
        # Who is stopped half-way finds the day due again.
        await asyncio.to_thread(self._cache.unrecord, day)
        # The headline numbers last: a day that has them has its tables.
        for measurement in sorted(computed.points, key=lambda m: m is DAILY_USAGE):
            points = computed.points[measurement]
            await store(self._influx, measurement, points, self._span(measurement, day))
        if result.outcome is Outcome.EMPTY:
            return result
        if day < now.date():
            count = computed.basis.get(day, RawCount())
            await asyncio.to_thread(self._cache.save, day, count, computed.facts)
        if result.failed is not None:
            return result
        await asyncio.to_thread(self._cache.record, day, computed.basis)
        return result

    async def look(self, day: date, now: datetime) -> Standing:
        """How a day stands. Raises InfluxError."""
        return await standing(self._influx, day, now, self._retention_s)

    async def kept(self, around: Standing, now: datetime, *, force: bool = False) -> Outcome | None:
        """Why a day stays as it is whatever its raw reports say, or None."""
        if may_have_expired(around.day, now, self._retention_s):
            return Outcome.EXPIRED
        stored = around.itself
        if around.imported or (stored is not None and stored.imported):
            return Outcome.IMPORTED
        if stored is None or not stored.final or force:
            return None
        if any(found.erased != RawCount() for found in around.stored.values()):
            basis = around.basis()
            if basis.get(around.day, RawCount()) == stored.counted and (
                stored.erased != RawCount() or await self._has_basis(around.day, basis, now)
            ):
                return Outcome.ERASED
        return None

    async def _has_basis(self, day: date, basis: Basis, now: datetime) -> bool:
        """Whether a day was computed from days of these counts, or it is not known from which."""
        kept = await asyncio.to_thread(self._cache.basis, day)
        return kept is None or all(
            kept.get(d, RawCount()) == basis.get(d, RawCount())
            for back in range(DAYS)
            if not may_have_expired(d := day - timedelta(days=back), now, self._retention_s)
        )

    async def _compute(self, around: Standing, now: datetime) -> ComputedDay:
        """What a day should be, from its raw reports. Raises InfluxError."""
        day, first = around.day, around.day - timedelta(days=DAYS - 1)
        facts = await read_facts(self._influx, day)
        # Rows may have come since they were counted.
        basis = around.basis(RawCount(facts.reports, facts.node_reports))
        final = is_final(day, now)
        result = DayResult(
            day,
            Outcome.WRITTEN,
            facts.reports,
            facts.servers.height,
            facts.nodes.height,
            final,
        )
        start = day_ns(day)
        points: dict[Measurement, Points] = {}
        if facts.reports == 0 and not await own_days_before(self._influx, day):
            points |= {m: {} for m in MEASUREMENTS if m.database == DAILY}
            return ComputedDay(replace(result, outcome=Outcome.EMPTY), points, facts, basis)

        # What reaches back over expired days is as it was computed while they were there.
        found = (around.itself or StoredDay()).fields
        windows = {name: found[name] for name in WINDOW_FIELDS if name in found}
        failed: list[Exception] = []
        if first >= around.whole_from:
            with _left_behind(failed):
                windows, points[DAILY_UPGRADES] = await self._over_days(day, now, facts, basis)
        if day - _ONE_DAY >= around.whole_from:
            with _left_behind(failed):
                points[HOURLY_USAGE] = await self._hours(day, now, facts, basis)
        usage, nodes, servers = await asyncio.to_thread(
            lambda: usage_points(facts, start, k=self._k, final=final, windows=windows)
        )
        points[DAILY_USAGE], points[DAILY_NODES], points[DAILY_SERVERS] = usage, nodes, servers
        points[DAILY_PACKAGES] = package_points(facts, start, k=self._k, final=final)
        return ComputedDay(
            replace(result, failed=failed[0] if failed else None), points, facts, basis
        )

    async def _over_days(
        self, day: date, now: datetime, facts: DayFacts, basis: Basis
    ) -> tuple[dict[str, FieldValue], Points]:
        """The fields that reach over several days, and `daily_upgrades`. Raises InfluxError."""
        before = await self._presence_before(day, basis)
        moves = await asyncio.to_thread(upgrades, before, facts)
        after = await asyncio.to_thread(advance, before, facts)
        if day < now.date():
            self._presence = (day, basis, after)
        windows = window_fields(window_counts(after))
        return windows, upgrade_points(moves, day_ns(day), k=self._k, final=is_final(day, now))

    async def differences(self, around: Standing, now: datetime) -> dict[str, int]:
        """How many points of each measurement are not what they should be; nothing is changed.

        Raises InfluxError, and what goes wrong with the day's windows or hours.
        """
        computed = await self._compute(around, now)
        if computed.result.failed is not None:
            raise computed.result.failed
        day, found = around.day, {}
        for measurement, points in computed.points.items():
            stored = await stored_points(self._influx, measurement, self._span(measurement, day))
            wrong = sum(stored.get(key) != points.get(key) for key in stored.keys() | points)
            if wrong:
                found[measurement.name] = wrong
        return found

    def forget(self, days: Iterable[date]) -> None:
        """Keep nothing of what these days' raw reports said of anyone.

        Raises OSError where files of some stay; those of the others go.
        """
        self._presence = None
        failed: OSError | None = None
        for day in days:
            try:
                self._cache.forget(day)
            except OSError as error:
                failed = error
        if failed is not None:
            raise failed

    def forget_expired(self, now: datetime) -> None:
        """Drop what is kept in the state directory of days whose raw data expires."""
        month = now.date() - timedelta(days=DAYS)
        oldest = date.min
        if self._retention_s:
            oldest = (now - timedelta(seconds=self._retention_s)).date() + _ONE_DAY
        self._cache.drop_before(max(month, oldest), oldest)

    def _span(self, measurement: Measurement, day: date) -> Span:
        if measurement is HOURLY_USAGE:
            return span_of(day, day)
        return Span(day_ns(day), day_ns(day) + 1)

    async def _presence_before(self, day: date, basis: Basis) -> Presence:
        """The presence at the end of the day before `day`."""
        first, eve = day - timedelta(days=DAYS - 1), day - _ONE_DAY
        if self._presence is not None:
            at, known, presence = self._presence
            # What it was made of must still be so, as far back as it matters here.
            if at == eve and _between(known, first, eve) == _between(basis, first, eve):
                return presence
        presence = nobody()
        for back in range(DAYS - 1, 0, -1):
            facts = await self._facts(day - timedelta(days=back), basis)
            presence = await asyncio.to_thread(advance, presence, facts)
        self._presence = (eve, basis, presence)
        return presence

    async def _facts(self, day: date, basis: Basis) -> DayFacts | None:
        """The facts of a day that a basis names; None where it has no reports."""
        count = basis.get(day)
        if count is None:
            return None
        facts = await asyncio.to_thread(self._cache.load, day, count)
        if facts is None:
            facts = await read_facts(self._influx, day)
            await asyncio.to_thread(self._cache.save, day, count, facts)
        return facts

    async def _hours(self, day: date, now: datetime, facts: DayFacts, basis: Basis) -> Points:
        eve = await self._facts(day - _ONE_DAY, basis)
        hours = await asyncio.to_thread(hours_of, eve, facts, hours_over(day, now))
        past = await stored_points(
            self._influx,
            HOURLY_USAGE,
            span_of(day - timedelta(days=HISTORY_DAYS), day - _ONE_DAY),
        )
        start = day_ns(day)
        known = stored_hours({time: fields for (time, _), fields in past.items()})
        expected = [
            expect(hour, history_of(known, start + number * _HOUR_NS))
            for number, hour in enumerate(hours)
        ]
        return hourly_points(expected, start, _HOUR_NS)


@contextmanager
def _left_behind(failed: list[Exception]) -> Iterator[None]:
    """Note what goes wrong with a part of a day, so that the rest is computed."""
    try:
        yield
    # The part may need another day, which may hold anything, or be cut short each time.
    except Exception as error:  # noqa: BLE001
        failed.append(error)


def _would_lose(stored: StoredDay | None, result: DayResult) -> bool:
    """Whether a final day would lose more than may be stored without being told to."""
    if stored is None or not stored.final:
        return False
    return result.reports < _KEPT_SHARE * stored.number(
        "reports"
    ) or result.nodes < _KEPT_SHARE * stored.number("nodes")


def _between(basis: Basis, first: date, last: date) -> Basis:
    return {day: count for day, count in basis.items() if first <= day <= last}
