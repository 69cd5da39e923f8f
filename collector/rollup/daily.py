"""Rollup of one UTC day: read its raw rows, compute the points, store them, remove stale ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

import polars as pl

from collector.days import day_ns
from collector.influx import Influx
from collector.lines import FieldValue
from collector.rollup.cache import Basis, FactsCache, RawCount
from collector.rollup.facts import DayFacts
from collector.rollup.hourly import expect, history_of, hours_of, stored_hours
from collector.rollup.inputs import (
    DayInputs,
    StoredDay,
    complete_days,
    hours_over,
    is_final,
    may_have_expired,
    own_days_before,
    read_inputs,
)
from collector.rollup.listed import sample_fields
from collector.rollup.lookback import HISTORY_DAYS, PRESENCE_DAYS
from collector.rollup.points import (
    Points,
    hourly_points,
    package_points,
    upgrade_points,
    usage_points,
    window_fields,
)
from collector.rollup.raw import opted_out_reports, read_facts, span_of
from collector.rollup.store import Span, store, stored_points
from collector.rollup.windows import (
    Presence,
    advance,
    empty_presence,
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

WINDOW_FIELDS: Final = (
    "nodes_7d",
    "nodes_30d",
    "servers_7d",
    "servers_30d",
    "new_nodes",
    "lapsed_nodes",
)
SAMPLE_FIELDS: Final = ("listed_nodes", "coverage")
_MEASUREMENTS: Final = (
    DAILY_NODES,
    DAILY_PACKAGES,
    DAILY_SERVERS,
    DAILY_UPGRADES,
    DAILY_USAGE,
    HOURLY_USAGE,
)
"""Measurements that a day's rollup writes."""
_LEAST_RATIO: Final = 0.8
"""A final day may drop to this ratio of its stored reports and nodes without `force`."""
_HOUR_NS: Final = 3600 * 10**9
_ONE_DAY: Final = timedelta(days=1)


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
    facts: DayFacts
    basis: Basis


class Daily:
    """Rolls up days of one InfluxDB under a given k.

    `retention_s` is the retention of raw reports in seconds, 0 for unlimited. `erasures` returns
    the days of unfinished erasures, and `listed` the pseudonyms of the nodes on the node list, if
    there is one; both may block.
    """

    def __init__(
        self,
        influx: Influx,
        *,
        k: int,
        retention_s: int,
        cache: FactsCache,
        erasures: Callable[[], Set[date]] = frozenset,
        listed: Callable[[], pl.Series | None] = lambda: None,
    ) -> None:
        self._influx = influx
        self._k = k
        self._retention_s = retention_s
        self._cache = cache
        self._erasures = erasures
        self._listed = listed
        self._presence: tuple[date, Basis, Presence] | None = None

    async def roll(self, day: date, now: datetime, *, force: bool = False) -> DayResult:
        """Compute a day from all of its raw reports and store it; repeating it changes nothing.

        A day without reports is stored as zeros, unless it is before the first day of the series.
        If windows or hours cannot be computed, the rest of the day is stored and the day stays due.
        Raises InfluxError, StoreUnavailable.
        """
        inputs = await self.read_inputs(day, now)
        if (fixed := await self.fixed(inputs, now, force=force)) is not None:
            if fixed is Outcome.ERASED:
                # The day may have been due only because its basis was unknown.
                await asyncio.to_thread(self._cache.save_basis, day, inputs.basis())
            return DayResult(day, fixed)
        computed = await self._compute(inputs, now)
        result = computed.result
        if not force and _would_lose(inputs.stored_row, result):
            return replace(result, outcome=Outcome.REFUSED)
        # After an interruption the day is due again.
        await asyncio.to_thread(self._cache.delete_basis, day)
        await self._store(computed, now)
        if result.outcome is Outcome.EMPTY or result.failed is not None:
            return result
        await asyncio.to_thread(self._cache.save_basis, day, computed.basis)
        return result

    async def _store(self, computed: ComputedDay, now: datetime) -> None:
        """Store the points of a day, and its facts once it is over. Raises InfluxError."""
        day = computed.result.day
        storing: list[Awaitable[None]] = [
            self._store_points(computed, measurement)
            for measurement in computed.points
            if measurement is not DAILY_USAGE
        ]
        if computed.result.outcome is not Outcome.EMPTY and day < now.date():
            count = computed.basis.get(day, RawCount())
            storing.append(asyncio.to_thread(self._cache.save, day, count, computed.facts))
        # All are awaited after an error too: nothing of this day may be written later.
        for error in await asyncio.gather(*storing, return_exceptions=True):
            if error is not None:
                raise error
        # The headline numbers are stored last: a day that has them has its tables too.
        await self._store_points(computed, DAILY_USAGE)

    async def _store_points(self, computed: ComputedDay, measurement: Measurement) -> None:
        span = self._span(measurement, computed.result.day)
        await store(self._influx, measurement, computed.points[measurement], span)

    async def read_inputs(self, day: date, now: datetime) -> DayInputs:
        """Read the inputs of a day. Raises InfluxError, StoreUnavailable."""
        erasing = await self.erasing(now)
        return await read_inputs(self._influx, day, now, self._retention_s, erasing)

    async def erasing(self, now: datetime) -> frozenset[date]:
        """The complete days of unfinished erasures. Raises StoreUnavailable."""
        return await complete_days(self._erasures, now)

    async def fixed(
        self, inputs: DayInputs, now: datetime, *, force: bool = False
    ) -> Outcome | None:
        """Why a stored day must not be computed again, or None if it may. Raises InfluxError."""
        if may_have_expired(inputs.day, now, self._retention_s):
            return Outcome.EXPIRED
        stored = inputs.stored_row
        if inputs.imported or (stored is not None and stored.imported):
            return Outcome.IMPORTED
        if inputs.day in inputs.erasing:
            return Outcome.ERASING
        if stored is None or not stored.final or force:
            return None
        erased = any(found.erased != RawCount() for found in inputs.stored.values())
        if erased or inputs.erasing & inputs.stored.keys():
            basis = inputs.basis()
            if basis.get(inputs.day, RawCount()) == stored.counted and (
                stored.erased != RawCount() or await self._has_basis(inputs.day, basis, now)
            ):
                return Outcome.ERASED
        return None

    async def _has_basis(self, day: date, basis: Basis, now: datetime) -> bool:
        """Whether the day's cached basis equals `basis`; also true if none is cached."""
        cached = await asyncio.to_thread(self._cache.basis, day)
        return cached is None or all(
            cached.get(d, RawCount()) == basis.get(d, RawCount())
            for back in range(PRESENCE_DAYS)
            if not may_have_expired(d := day - timedelta(days=back), now, self._retention_s)
        )

    async def _compute(self, inputs: DayInputs, now: datetime) -> ComputedDay:
        """Compute all points of a day from its raw reports. Raises InfluxError."""
        day, first = inputs.day, inputs.day - timedelta(days=PRESENCE_DAYS - 1)
        facts, dropped = await asyncio.gather(
            read_facts(self._influx, day, inputs.counts.get(day, RawCount())),
            opted_out_reports(self._influx, day),
        )
        # Rows may have arrived since they were counted.
        basis = inputs.basis(RawCount(facts.reports, facts.node_reports))
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
            points |= {m: {} for m in _MEASUREMENTS}
            return ComputedDay(replace(result, outcome=Outcome.EMPTY), points, facts, basis)

        # Windows over expired days keep the values computed while the raw data existed.
        found = (inputs.stored_row or StoredDay()).fields
        windows = {name: found[name] for name in WINDOW_FIELDS if name in found}
        # Which nodes were listed on a day is known on that day only.
        is_past = found.get(FINAL.name) == 1 or day < now.date() - _ONE_DAY
        sample = {name: found[name] for name in SAMPLE_FIELDS if name in found and is_past}
        failed: list[Exception] = []
        if first >= inputs.complete_from:
            with _collect_errors(failed):
                windows, points[DAILY_UPGRADES], present = await self._over_days(
                    day, now, facts, basis
                )
                if not is_past:
                    sample = await asyncio.to_thread(self._sample, present)
        if day - _ONE_DAY >= inputs.complete_from:
            with _collect_errors(failed):
                points[HOURLY_USAGE] = await self._hours(day, now, facts, basis)
        published = dropped // self._k * self._k
        counted = {"opted_out_reports": published} if published else {}
        usage, nodes, servers = await asyncio.to_thread(
            lambda: usage_points(
                facts, start, k=self._k, final=final, windows=windows | sample | counted
            )
        )
        points[DAILY_USAGE], points[DAILY_NODES], points[DAILY_SERVERS] = usage, nodes, servers
        points[DAILY_PACKAGES] = package_points(facts, start, k=self._k, final=final)
        return ComputedDay(
            replace(result, failed=failed[0] if failed else None), points, facts, basis
        )

    async def _over_days(
        self, day: date, now: datetime, facts: DayFacts, basis: Basis
    ) -> tuple[dict[str, FieldValue], Points, Presence]:
        """Compute the window fields, `daily_upgrades` and the presence. Raises InfluxError."""
        before = await self._presence_before(day, basis)
        moves = await asyncio.to_thread(upgrades, before, facts)
        after = await asyncio.to_thread(advance, before, facts)
        if day < now.date():
            self._presence = (day, basis, after)
        windows = window_fields(window_counts(after))
        points = upgrade_points(moves, day_ns(day), k=self._k, final=is_final(day, now))
        return windows, points, after

    def _sample(self, presence: Presence) -> dict[str, FieldValue]:
        """The fields on the sample at the end of a presence; none without a node list."""
        listed = self._listed()
        if listed is None:
            return {}
        return dict(sample_fields(listed, nodes_of_month(presence), self._k))

    async def differences(self, inputs: DayInputs, now: datetime) -> dict[str, int]:
        """Count the stored points of each measurement that differ from the computed ones.

        Nothing is changed. Raises InfluxError, and any error in the day's windows or hours.
        """
        computed = await self._compute(inputs, now)
        if computed.result.failed is not None:
            raise computed.result.failed
        day, found = inputs.day, {}
        for measurement, points in computed.points.items():
            stored = await stored_points(self._influx, measurement, self._span(measurement, day))
            wrong = sum(stored.get(key) != points.get(key) for key in stored.keys() | points)
            if wrong:
                found[measurement.name] = wrong
        return found

    def forget(self, days: Iterable[date]) -> None:
        """Delete all cached facts of these days.

        Raises OSError if files of a day remain; the other days are deleted all the same.
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
        """Delete the cache entries of days whose raw data has expired or begins to expire."""
        month = now.date() - timedelta(days=PRESENCE_DAYS)
        oldest = date.min
        if self._retention_s:
            oldest = (now - timedelta(seconds=self._retention_s)).date() + _ONE_DAY
        self._cache.drop_before(max(month, oldest), oldest)

    def _span(self, measurement: Measurement, day: date) -> Span:
        if measurement is HOURLY_USAGE:
            return span_of(day, day)
        return Span(day_ns(day), day_ns(day) + 1)

    async def _presence_before(self, day: date, basis: Basis) -> Presence:
        """The presence at the end of the day before `day`. Raises InfluxError."""
        first, eve = day - timedelta(days=PRESENCE_DAYS - 1), day - _ONE_DAY
        if self._presence is not None:
            at, known, presence = self._presence
            # The remembered presence is valid if the counts of all days it covers are unchanged.
            if at == eve and _between(known, first, eve) == _between(basis, first, eve):
                return presence
        presence = empty_presence()
        for back in range(PRESENCE_DAYS - 1, 0, -1):
            facts = await self._facts(day - timedelta(days=back), basis)
            # Without reports before, there is nobody to age.
            if (
                facts is not None
                or not presence.nodes.is_empty()
                or not presence.servers.is_empty()
            ):
                presence = await asyncio.to_thread(advance, presence, facts)
        self._presence = (eve, basis, presence)
        return presence

    async def _facts(self, day: date, basis: Basis) -> DayFacts | None:
        """The facts of a day, cached or read; None if the basis counts no reports of it."""
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
def _collect_errors(failed: list[Exception]) -> Iterator[None]:
    """Append an error in one part of a day to `failed`, so that the rest is computed."""
    try:
        yield
    # The part may need another day whose rows are malformed or cannot be read completely.
    except Exception as error:  # noqa: BLE001
        failed.append(error)


def _would_lose(stored: StoredDay | None, result: DayResult) -> bool:
    """Whether a final day would lose more reports or nodes than is stored without `force`."""
    if stored is None or not stored.final:
        return False
    return result.reports < _LEAST_RATIO * stored.number(
        "reports"
    ) or result.nodes < _LEAST_RATIO * stored.number("nodes")


def _between(basis: Basis, first: date, last: date) -> Basis:
    return {day: count for day, count in basis.items() if first <= day <= last}
