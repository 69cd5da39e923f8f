"""How a day stands before it is computed: as stored, as raw data counts it, whether it is whole."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from collector.days import day_ns, day_of, start_of
from collector.influx import Influx, Select, read
from collector.lines import FieldValue
from collector.rollup.cache import Basis, RawCount
from collector.rollup.facts import HOURS
from collector.rollup.raw import imported_days, raw_counts, span_of
from collector.rollup.store import stored_points
from collector.rollup.windows import DAYS
from collector.schema import DAILY, DAILY_USAGE, RAW, SERVER_REPORT

FINAL_AFTER: Final = timedelta(hours=1)
"""A day is final once computed this long after its end: what was under way then has arrived."""
_ONE_DAY: Final = timedelta(days=1)


def is_final(day: date, now: datetime) -> bool:
    """Whether a day computed at `now` is complete."""
    return now >= start_of(day) + _ONE_DAY + FINAL_AFTER


def may_have_expired(day: date, now: datetime, retention_s: int) -> bool:
    """Whether raw data of a day may have begun to expire, so that it can't be counted any more."""
    return retention_s > 0 and start_of(day) < now - timedelta(seconds=retention_s)


def hours_over(day: date, now: datetime) -> int:
    """How many hours of a day are over at `now`, 0..24."""
    return max(0, min(HOURS, (now - start_of(day)) // timedelta(hours=1)))


async def first_whole_day(influx: Influx, now: datetime, retention_s: int) -> date | None:
    """The oldest day whose raw data is there whole; None where there is no raw data at all.

    Retention alone does not tell: after it was made longer, what was gone stays gone. Raises
    InfluxError.
    """
    found = await read(influx, Select(RAW, SERVER_REPORT.name, ["first(server)"]))
    if not found:
        return None
    oldest = day_of(found[0].values[0][0])
    while may_have_expired(oldest, now, retention_s):
        oldest += _ONE_DAY
    return oldest


@dataclass(frozen=True, slots=True)
class StoredDay:
    """A day of `daily_usage` as it is stored."""

    fields: Mapping[str, FieldValue] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """A field's value; 0 where it is absent."""
        return int(self.fields.get(name, 0))

    @property
    def imported(self) -> bool:
        """Whether it came from an older server's database."""
        return self.number("imported") == 1

    @property
    def final(self) -> bool:
        """Whether it was complete when it was computed."""
        return self.number("final") == 1

    @property
    def erased(self) -> RawCount:
        """What owners erased after it was final."""
        return RawCount(self.number("erased_reports"), self.number("erased_node_reports"))

    @property
    def counted(self) -> RawCount:
        """The raw count that it was computed from."""
        return RawCount(self.number("reports"), self.number("node_reports"))


async def stored_days(influx: Influx, first: date, last: date) -> dict[date, StoredDay]:
    """The stored days from `first` to `last`. Raises InfluxError."""
    points = await stored_points(influx, DAILY_USAGE, span_of(first, last))
    return {day_of(time): StoredDay(fields) for (time, _), fields in points.items()}


async def own_days_before(influx: Influx, day: date) -> bool:
    """Whether a day of our own is stored before one; an imported one has no such field."""
    before = Select(DAILY, DAILY_USAGE.name, ["first(node_reports)"], f"time < {day_ns(day)}")
    return bool(await read(influx, before))


def with_erased(
    counts: Mapping[date, RawCount], stored: Mapping[date, StoredDay]
) -> dict[date, RawCount]:
    """Raw counts as they were before owners erased reports of days that were final."""
    erased = {day: found.erased for day, found in stored.items() if found.erased != RawCount()}
    return dict(counts) | {
        day: RawCount(
            counts.get(day, RawCount()).reports + gone.reports,
            counts.get(day, RawCount()).node_reports + gone.node_reports,
        )
        for day, gone in erased.items()
    }


@dataclass(frozen=True, slots=True)
class Standing:
    """A day and the 30 before it, all that its numbers are made of.

    `stored` and `counts` (of raw rows) are by day; `imported`: each of the day's raw reports came
    from an older server; raw data is whole from `whole_from` on.
    """

    day: date
    stored: Mapping[date, StoredDay]
    counts: Mapping[date, RawCount]
    imported: bool
    whole_from: date

    @property
    def itself(self) -> StoredDay | None:
        """The day as it is stored, if it is."""
        return self.stored.get(self.day)

    def basis(self, found: RawCount | None = None) -> Basis:
        """What the day, computed now, is computed from; `found`: what it was read to hold."""
        counts = dict(self.counts) | ({} if found is None else {self.day: found})
        made = with_erased(counts, self.stored)
        return {day: count for day, count in made.items() if count != RawCount()}


async def standing(influx: Influx, day: date, now: datetime, retention_s: int) -> Standing:
    """How a day stands. Raises InfluxError."""
    first = day - timedelta(days=DAYS - 1)
    stored, counts, oldest = await asyncio.gather(
        stored_days(influx, first, day),
        raw_counts(influx, first, day),
        first_whole_day(influx, now, retention_s),
    )
    imported = await imported_days(influx, {d: count for d, count in counts.items() if d == day})
    whole_from = oldest or now.date()
    # Where nothing is stored from before the oldest raw day, there never was anything.
    if first < whole_from and not await own_days_before(influx, whole_from):
        whole_from = first - _ONE_DAY
    return Standing(day, stored, counts, day in imported, whole_from)
