"""Finds the days to compute: missing ones, changed ones, and those based on changed days."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from collector.days import NS_PER_HOUR, ONE_DAY, day_ns
from collector.influx import Influx
from collector.lines import NS_PER_DAY
from collector.rollup.cache import Basis, FactsCache, RawCount
from collector.rollup.hourly import Hour, expect, history_of, stored_hours
from collector.rollup.inputs import (
    StoredDay,
    add_erased,
    complete_days,
    days_of,
    first_complete_day,
    hours_over,
    is_final,
)
from collector.rollup.lookback import HISTORY_DAYS, PRESENCE_DAYS
from collector.rollup.raw import read_days, span_of
from collector.rollup.store import stored_points_each
from collector.schema import DAILY_USAGE, HOURLY_USAGE

_HISTORY: Final = range(1, HISTORY_DAYS + 2)
"""Days whose expected values depend on a day; `nodes_24h` includes hours of the day before."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that decides which days are due: raw counts, stored rows and bases by day, hours.

    `hours` are keyed by their start (ns since 1970) and begin a week before the first day.
    """

    counts: Mapping[date, RawCount]
    stored: Mapping[date, StoredDay]
    hours: Mapping[int, Hour]
    bases: Mapping[date, Basis | None]
    imported: Set[date] = frozenset()
    """Days whose raw reports all came from an older server; they are never computed."""
    erasing: Set[date] = frozenset()
    """Complete days of unfinished erasures; they are not computed until these are done."""


def days_due(snapshot: Snapshot, first: date, now: datetime) -> list[date]:
    """The days from `first` to today that must be computed, oldest first.

    `first` is the oldest day with complete raw data; `snapshot` covers the days from it on.
    """
    counts = add_erased(snapshot.counts, snapshot.stored, snapshot.erasing)
    own = [day for day, found in snapshot.stored.items() if not found.imported]
    begun = min([*(counts.keys() - snapshot.imported), *own], default=None)
    if begun is None:
        return []
    span = (now.date() - max(first, begun)).days + 1
    days = [max(first, begun) + timedelta(days=n) for n in range(span)]
    days = [day for day in days if day not in snapshot.erasing]
    changed = {day for day in days if _has_changed(snapshot, counts, day)}
    return [
        day
        for day in days
        if _is_due(snapshot, counts, day, first, now)
        # Expected values of an hour are computed from the stored hours of the days before.
        or (day in own and any(day - timedelta(days=n) in changed for n in _HISTORY))
    ]


def _has_changed(snapshot: Snapshot, counts: Mapping[date, RawCount], day: date) -> bool:
    stored, count = snapshot.stored.get(day), counts.get(day, RawCount())
    if day in snapshot.imported or (stored and stored.imported):
        return False
    return count != (stored.counted if stored else RawCount())


def _is_due(
    snapshot: Snapshot, counts: Mapping[date, RawCount], day: date, first: date, now: datetime
) -> bool:
    stored, basis = snapshot.stored.get(day), snapshot.bases.get(day)
    if day in snapshot.imported:
        return False
    if stored is None:
        # A day without reports is stored once its first hour is over, but not before the series
        # begins.
        silent = day > first and hours_over(day, now) > 0
        return day in counts or day < now.date() or silent
    if stored.imported:
        return False
    return (
        stored.counted != counts.get(day, RawCount())
        or (stored.number("final") == 0 and is_final(day, now))
        or not _hours_are_current(snapshot, day, first, now)
        or basis is None
        or any(
            basis.get(d, RawCount()) != counts.get(d, RawCount())
            for back in range(PRESENCE_DAYS)
            if (d := day - timedelta(days=back)) >= first
        )
    )


def _hours_are_current(snapshot: Snapshot, day: date, first: date, now: datetime) -> bool:
    """Whether every past hour of a day is stored, with current expected values."""
    if day == first and is_final(day, now):
        # The hours of the previous day, which it counts too, may have expired.
        return True
    starts = range(day_ns(day), day_ns(day) + NS_PER_DAY, NS_PER_HOUR)
    hours = {time: snapshot.hours[time] for time in starts if time in snapshot.hours}
    return len(hours) == hours_over(day, now) and all(
        day == first or expect(hour, history_of(snapshot.hours, time)) == hour
        for time, hour in hours.items()
    )


class Reconciler:
    """Compares raw and stored data of one InfluxDB and returns the days that are due."""

    def __init__(
        self,
        influx: Influx,
        *,
        retention_s: int,
        cache: FactsCache,
        erasures: Callable[[], Set[date]] = frozenset,
    ) -> None:
        self._influx = influx
        self._retention_s = retention_s
        self._cache = cache
        self._erasures = erasures

    async def due(self, now: datetime) -> list[date]:
        """The days to compute, oldest first. Raises InfluxError, StoreUnavailable."""
        first = await first_complete_day(self._influx, now, self._retention_s)
        if first is None:
            return []
        today = now.date()
        spans = {
            HOURLY_USAGE: span_of(first - HISTORY_DAYS * ONE_DAY, today),
            DAILY_USAGE: span_of(first, today),
        }
        (hourly, usage), raw = await asyncio.gather(
            stored_points_each(self._influx, spans), read_days(self._influx, first, today)
        )
        stored = days_of(usage)
        snapshot = Snapshot(
            counts=raw.counts,
            stored=stored,
            hours=stored_hours({time: fields for (time, _), fields in hourly.items()}),
            imported=raw.imported,
            erasing=await complete_days(self._erasures, now),
            bases=await asyncio.to_thread(lambda: {d: self._cache.basis(d) for d in stored}),
        )
        return days_due(snapshot, first, now)
