"""Which stored days are not what raw data says: missing, changed, or built on changed days."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from collector.days import day_ns
from collector.influx import Influx
from collector.lines import NS_PER_DAY
from collector.rollup.cache import Basis, FactsCache, RawCount
from collector.rollup.facts import HOURS
from collector.rollup.hourly import HISTORY_DAYS, Hour, expect, history_of, stored_hours
from collector.rollup.raw import imported_days, raw_counts, span_of
from collector.rollup.standing import (
    StoredDay,
    first_whole_day,
    hours_over,
    is_final,
    stored_days,
    with_erased,
)
from collector.rollup.store import stored_points
from collector.rollup.windows import DAYS
from collector.schema import HOURLY_USAGE

_ONE_DAY: Final = timedelta(days=1)
_HISTORY: Final = range(1, HISTORY_DAYS + 2)
"""Days whose expectations a day has a part in; an hour counts nodes of its eve too."""


@dataclass(frozen=True, slots=True)
class State:
    """All that tells whether days are due: raw and stored counts and bases by day, stored hours.

    `hours` go by their start (ns since 1970), from a week before the first day on.
    """

    counts: Mapping[date, RawCount]
    stored: Mapping[date, StoredDay]
    hours: Mapping[int, Hour]
    bases: Mapping[date, Basis | None]
    imported: Set[date] = frozenset()
    """Days whose every raw report came from an older server: never computed."""


def days_due(state: State, first: date, now: datetime) -> list[date]:
    """The days from `first` to today that are to be computed, oldest first.

    `first` is the oldest day whose raw data is whole; `state` covers the days from it on.
    """
    counts = with_erased(state.counts, state.stored)
    own = [day for day, found in state.stored.items() if not found.imported]
    begun = min([*(counts.keys() - state.imported), *own], default=None)
    if begun is None:
        return []
    span = (now.date() - max(first, begun)).days + 1
    days = [max(first, begun) + timedelta(days=n) for n in range(span)]
    changed = {day for day in days if _has_changed(state, counts, day)}
    return [
        day
        for day in days
        if _is_due(state, counts, day, first, now)
        # What is to be expected of an hour comes from the days before it, as they are stored.
        or (day in own and any(day - timedelta(days=n) in changed for n in _HISTORY))
    ]


def _has_changed(state: State, counts: Mapping[date, RawCount], day: date) -> bool:
    stored, count = state.stored.get(day), counts.get(day, RawCount())
    if day in state.imported or (stored and stored.imported):
        return False
    return count != (stored.counted if stored else RawCount())


def _is_due(
    state: State, counts: Mapping[date, RawCount], day: date, first: date, now: datetime
) -> bool:
    stored, basis = state.stored.get(day), state.bases.get(day)
    if day in state.imported:
        return False
    if stored is None:
        # Silence is told as soon as an hour of it is over; before the first report there is none.
        silent = day > first and hours_over(day, now) > 0
        return day in counts or day < now.date() or silent
    if stored.imported:
        return False
    return (
        stored.counted != counts.get(day, RawCount())
        or (stored.number("final") == 0 and is_final(day, now))
        or not _hours_stand(state, day, first, now)
        or basis is None
        or any(
            basis.get(d, RawCount()) != counts.get(d, RawCount())
            for back in range(DAYS)
            if (d := day - timedelta(days=back)) >= first
        )
    )


def _hours_stand(state: State, day: date, first: date, now: datetime) -> bool:
    """Whether each hour that is over is stored, with what the hours stored before it let expect."""
    if day == first and is_final(day, now):
        # The hours of its eve, which it counts too, may have expired.
        return True
    hours = {time: state.hours[time] for time in _hours_of(day) if time in state.hours}
    return len(hours) == hours_over(day, now) and all(
        day == first or expect(hour, history_of(state.hours, time)) == hour
        for time, hour in hours.items()
    )


def _hours_of(day: date) -> range:
    return range(day_ns(day), day_ns(day) + NS_PER_DAY, NS_PER_DAY // HOURS)


class Reconciler:
    """Looks at one InfluxDB and the state directory for days that are due."""

    def __init__(self, influx: Influx, *, retention_s: int, cache: FactsCache) -> None:
        self._influx = influx
        self._retention_s = retention_s
        self._cache = cache

    async def due(self, now: datetime) -> list[date]:
        """The days to compute, oldest first. Raises InfluxError."""
        first = await first_whole_day(self._influx, now, self._retention_s)
        if first is None:
            return []
        today = now.date()
        week = span_of(first - HISTORY_DAYS * _ONE_DAY, today)
        hourly = await stored_points(self._influx, HOURLY_USAGE, week)
        stored = await stored_days(self._influx, first, today)
        counts = await raw_counts(self._influx, first, today)
        state = State(
            counts=counts,
            stored=stored,
            hours=stored_hours({time: fields for (time, _), fields in hourly.items()}),
            imported=await imported_days(self._influx, counts),
            bases=await asyncio.to_thread(lambda: {d: self._cache.basis(d) for d in stored}),
        )
        return days_due(state, first, now)
