"""Inputs of a day's rollup: stored rows, raw counts, the first day with complete raw data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from collector.days import ONE_DAY, day_of, start_of
from collector.influx import Influx, Select, read
from collector.lines import FieldValue
from collector.rollup.cache import Basis, RawCount
from collector.rollup.facts import HOURS
from collector.rollup.lookback import PRESENCE_DAYS
from collector.rollup.points import Points
from collector.rollup.raw import OLDEST, first_day, read_days, span_of
from collector.rollup.store import stored_points
from collector.schema import DAILY, DAILY_USAGE, Measurement

FINAL_AFTER: Final = timedelta(hours=1)
"""A day computed this long after its end is final: reports in flight at its end have arrived."""


def is_final(day: date, now: datetime) -> bool:
    """Whether a day computed at `now` is complete."""
    return now >= start_of(day) + ONE_DAY + FINAL_AFTER


def may_have_expired(day: date, now: datetime, retention_s: int) -> bool:
    """Whether some raw data of a day may have expired, so that the day cannot be counted again."""
    return retention_s > 0 and start_of(day) < now - timedelta(seconds=retention_s)


def hours_over(day: date, now: datetime) -> int:
    """The number of hours of a day that have ended at `now`, 0..24."""
    return max(0, min(HOURS, (now - start_of(day)) // timedelta(hours=1)))


async def first_complete_day(influx: Influx, now: datetime, retention_s: int) -> date | None:
    """The oldest day with complete raw data; None without raw data. Raises InfluxError."""
    return first_complete(first_day(await read(influx, OLDEST)), now, retention_s)


def first_complete(oldest: date | None, now: datetime, retention_s: int) -> date | None:
    """The first day from `oldest` on whose raw data is complete; None if there is none at all."""
    # The retention alone is not enough: raising it does not bring expired data back.
    while oldest is not None and may_have_expired(oldest, now, retention_s):
        oldest += ONE_DAY
    return oldest


@dataclass(frozen=True, slots=True)
class StoredDay:
    """A stored row of `daily_usage`, or of another sender's days."""

    fields: Mapping[str, FieldValue] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """The value of a field; 0 if it is absent."""
        return int(self.fields.get(name, 0))

    @property
    def imported(self) -> bool:
        """Whether the row was imported from an older server's database."""
        return self.number("imported") == 1

    @property
    def final(self) -> bool:
        """Whether the day was complete when it was computed."""
        return self.number("final") == 1

    @property
    def erased(self) -> RawCount:
        """The reports that owners erased after the day was final."""
        return RawCount(self.number("erased_reports"), self.number("erased_node_reports"))

    @property
    def counted(self) -> RawCount:
        """The raw count that the row was computed from."""
        return RawCount(self.number("reports"), self.number("node_reports"))


async def stored_days(
    influx: Influx, first: date, last: date, measurement: Measurement = DAILY_USAGE
) -> dict[date, StoredDay]:
    """The stored rows of the days from `first` to `last`, by day. Raises InfluxError."""
    return days_of(await stored_points(influx, measurement, span_of(first, last)))


async def first_own_day(influx: Influx) -> date | None:
    """The oldest stored day that was computed here; None if there is none. Raises InfluxError.

    Imported days lack the field `node_reports`.
    """
    return first_day(await read(influx, Select(DAILY, DAILY_USAGE.name, ["first(node_reports)"])))


def days_of(points: Points) -> dict[date, StoredDay]:
    """Stored rows of days by day; each has one point."""
    return {day_of(time): StoredDay(fields) for (time, _), fields in points.items()}


async def complete_days(erasures: Callable[[], Set[date]], now: datetime) -> frozenset[date]:
    """The days of unfinished erasures that are complete: they are left unchanged.

    `erasures` returns the days, and may block. Raises StoreUnavailable.
    """
    return frozenset(day for day in await asyncio.to_thread(erasures) if is_final(day, now))


def add_erased(
    counts: Mapping[date, RawCount],
    stored: Mapping[date, StoredDay],
    erasing: Set[date] = frozenset(),
) -> dict[date, RawCount]:
    """Add the reports that owners erased after days were final to the raw counts.

    A final day of an unfinished erasure (`erasing`) has the count that it was computed from: how
    many of its reports are deleted at the moment is not known.
    """
    found = dict(counts)
    for day, row in stored.items():
        count, gone = counts.get(day, RawCount()), row.erased
        if row.final and day in erasing:
            found[day] = row.counted
        elif gone != RawCount():
            found[day] = RawCount(
                count.reports + gone.reports, count.node_reports + gone.node_reports
            )
    return found


@dataclass(frozen=True, slots=True)
class DayInputs:
    """The inputs of one day's rollup, which reaches back over the 30 days before it.

    `stored` are rows of `daily_usage` by day, `counts` are raw counts by day. `imported` tells that
    all raw reports of the day came from an older server. Raw data is complete from `complete_from`
    on. `erasing` are the complete days of unfinished erasures. `first_own` is the oldest stored day
    that was computed here. `quarantined` tells whether some rows of the day are in quarantine.
    `opted_out` is the number of its reports that were dropped for an opt-out.
    """

    day: date
    stored: Mapping[date, StoredDay]
    counts: Mapping[date, RawCount]
    imported: bool
    complete_from: date
    erasing: Set[date] = frozenset()
    first_own: date | None = None
    quarantined: bool = False
    opted_out: int = 0

    @property
    def stored_row(self) -> StoredDay | None:
        """The stored row of the day itself, if there is one."""
        return self.stored.get(self.day)

    def stored_fields(self, names: Iterable[str]) -> dict[str, FieldValue]:
        """The values of some fields in the stored row of the day, without those that it lacks."""
        fields = (self.stored_row or StoredDay()).fields
        return {name: fields[name] for name in names if name in fields}

    @property
    def has_windows(self) -> bool:
        """Whether there is raw data of all days that the day's windows reach back to."""
        return self.day - timedelta(days=PRESENCE_DAYS - 1) >= self.complete_from

    @property
    def has_hours(self) -> bool:
        """Whether there is raw data of the day before, which the day's hours reach back to."""
        return self.day - ONE_DAY >= self.complete_from

    @property
    def own_days_before(self) -> bool:
        """Whether an earlier day is stored that was computed here."""
        return self.first_own is not None and self.first_own < self.day

    def basis(self, found: RawCount | None = None) -> Basis:
        """The raw counts that the day is computed from; `found` replaces the day's own count."""
        counts = dict(self.counts) | ({} if found is None else {self.day: found})
        made = add_erased(counts, self.stored, self.erasing)
        return {day: count for day, count in made.items() if count != RawCount()}


async def read_inputs(
    influx: Influx,
    day: date,
    now: datetime,
    retention_s: int,
    erasing: Set[date] = frozenset(),
) -> DayInputs:
    """Read the inputs of a day. Raises InfluxError."""
    first = day - timedelta(days=PRESENCE_DAYS - 1)
    stored, raw, own = await asyncio.gather(
        stored_days(influx, first, day),
        read_days(influx, first, day),
        first_own_day(influx),
    )
    complete_from = first_complete(raw.oldest, now, retention_s) or now.date()
    # If no earlier day is stored, nothing has expired: the series begins with the oldest raw day.
    if first < complete_from and (own is None or own >= complete_from):
        complete_from = first - ONE_DAY
    return DayInputs(
        day,
        stored,
        raw.counts,
        day in raw.imported,
        complete_from,
        erasing,
        first_own=own,
        quarantined=day in raw.quarantined,
        opted_out=raw.opted_out.get(day, 0),
    )
