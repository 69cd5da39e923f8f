"""Which stored days are not what raw data says: missing, changed, or built on changed days."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from collector.influx import Influx
from collector.rollup.cache import Basis, FactsCache, RawCount
from collector.rollup.daily import (
    StoredDay,
    hours_over,
    is_final,
    may_have_expired,
    stored_days,
    with_erased,
)
from collector.rollup.raw import day_of, raw_counts, span_of
from collector.rollup.store import stored_points
from collector.rollup.windows import DAYS
from collector.schema import HOURLY_USAGE, RAW, SERVER_REPORT

_ONE_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class State:
    """All that tells whether days are due: raw and stored counts, hours and bases by day."""

    counts: Mapping[date, RawCount]
    stored: Mapping[date, StoredDay]
    hours: Mapping[date, int]
    bases: Mapping[date, Basis | None]


def days_due(state: State, first: date, now: datetime) -> list[date]:
    """The days from `first` to today that are to be computed, oldest first.

    `first` is the oldest day whose raw data is whole; `state` covers the days from it on.
    """
    counts = with_erased(state.counts, state.stored)
    own = [day for day, found in state.stored.items() if not found.imported]
    begun = min([*counts, *own], default=now.date())
    span = (now.date() - max(first, begun)).days + 1
    days = [max(first, begun) + timedelta(days=n) for n in range(span)]
    return [day for day in days if _is_due(state, counts, day, first, now)]


def _is_due(
    state: State, counts: Mapping[date, RawCount], day: date, first: date, now: datetime
) -> bool:
    stored, basis = state.stored.get(day), state.bases.get(day)
    if stored is None:
        # The first hours of a network's first day are no gap.
        return day in counts or day < now.date()
    if stored.imported:
        return False
    return (
        stored.counted != counts.get(day, RawCount())
        or (stored.number("final") == 0 and is_final(day, now))
        or state.hours.get(day, 0) != hours_over(day, now)
        or basis is None
        or any(
            basis.get(d, RawCount()) != counts.get(d, RawCount())
            for back in range(DAYS)
            if (d := day - timedelta(days=back)) >= first
        )
    )


class Reconciler:
    """Looks at one InfluxDB and the state directory for days that are due."""

    def __init__(self, influx: Influx, *, retention_s: int, cache: FactsCache) -> None:
        self._influx = influx
        self._retention_s = retention_s
        self._cache = cache

    async def due(self, now: datetime) -> list[date]:
        """The days to compute, oldest first. Raises InfluxError."""
        first = await self._first_whole(now)
        if first is None:
            return []
        today = now.date()
        hourly = await stored_points(self._influx, HOURLY_USAGE, span_of(first, today))
        hours: dict[date, int] = {}
        for time, _ in hourly:
            hours[day_of(time)] = hours.get(day_of(time), 0) + 1
        stored = await stored_days(self._influx, first, today)
        state = State(
            counts=await raw_counts(self._influx, first, today),
            stored=stored,
            hours=hours,
            bases=await asyncio.to_thread(lambda: {d: self._cache.basis(d) for d in stored}),
        )
        return days_due(state, first, now)

    async def _first_whole(self, now: datetime) -> date | None:
        """The oldest day with raw data that is whole; None where there is no raw data at all."""
        found = await self._influx.query(RAW, f"SELECT first(server) FROM {SERVER_REPORT.name}")
        if not found:
            return None
        oldest = day_of(found[0].values[0][0])
        while may_have_expired(oldest, now, self._retention_s):
            oldest += _ONE_DAY
        return oldest
