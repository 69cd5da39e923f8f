"""Daily rollup of LibreNMS's reports, and the choice of days that are due.

A day is computed from all reports received in it; the last report of an install counts. A day is
due if its stored number of reports differs from the number in the database, and once more when it
is complete. A day whose reports have begun to expire is never computed again, and a complete day
stays as published when an owner erases reports of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Set
from dataclasses import KW_ONLY, dataclass
from datetime import date, datetime, timedelta
from typing import Final

from collector.days import ONE_DAY, day_ns
from collector.influx import Influx, Select, read, read_if_there, rows_of
from collector.influx.contents import Span
from collector.influx.frames import Rows, read_frame
from collector.lazy import FRAMES, load, pl
from collector.lines import STEP_NS
from collector.rollup.inputs import (
    StoredDay,
    complete_days,
    first_complete,
    is_final,
    may_have_expired,
    stored_days,
)
from collector.rollup.librenms_tables import columns, librenms_points
from collector.rollup.points import Points
from collector.rollup.raw import by_day, counting, first_day, span_of
from collector.rollup.schedule import RolledDay
from collector.rollup.store import store, stored_points
from collector.schema import OWNER, Measurement
from collector.schema.librenms import (
    DAILY_LIBRENMS,
    DAILY_LIBRENMS_TOTALS,
    LIBRENMS,
    LIBRENMS_CONTENT,
    LIBRENMS_REPORT,
)

_LEAST_RATIO: Final = 0.8
"""A final day may drop to this ratio of its stored reports without `force`."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A day's reports: their number, its installs, and the rows of each one's last report."""

    reports: int
    installs: list[str]
    rows: pl.DataFrame


@dataclass(eq=False)
class LibreNMSDays:
    """Rolls up the days of LibreNMS's reports in one InfluxDB under a given k.

    `retention_s` is the retention of the reports in seconds, 0 for unlimited. `erasures` returns
    the days of unfinished erasures, and may block.
    """

    influx: Influx
    _: KW_ONLY
    k: int
    retention_s: int
    erasures: Callable[[], Set[date]]
    name = "librenms"

    async def due(self, now: datetime) -> list[date]:
        """The days to compute at `now`, oldest first. Raises InfluxError, StoreUnavailable."""
        today = now.date()
        first = await self.first_day(now)
        # A day whose only reports were erased while it was open is due too.
        begin = min(first or today, today - 2 * ONE_DAY)
        counts = await self.counts(begin, today) if first else {}
        stored = await stored_days(self.influx, begin, today, DAILY_LIBRENMS)
        erasing = await complete_days(self.erasures, now)
        days = [begin + timedelta(days=n) for n in range((today - begin).days + 1)]
        return [
            day
            for day in days
            if day not in erasing
            and (day in stored or (first is not None and day >= first))
            and not may_have_expired(day, now, self.retention_s)
            and _is_due(stored.get(day), counts.get(day, 0), day, now)
        ]

    async def first_day(self, now: datetime) -> date | None:
        """The oldest day with all of its reports; None if there are no reports at all."""
        select = Select(LIBRENMS, LIBRENMS_REPORT.name, [f"first({OWNER})"])
        found = await read_if_there(self.influx, select)
        oldest = first_complete(first_day(found), now, self.retention_s)
        return oldest if oldest is not None and oldest <= now.date() else None

    async def counts(self, first: date, last: date) -> dict[date, int]:
        """The number of reports of each day that has any. Raises InfluxError."""
        select = counting(LIBRENMS_REPORT, OWNER, first, last)
        return by_day(await read_if_there(self.influx, select))

    async def roll(self, day: date, now: datetime, *, force: bool = False) -> RolledDay:
        """Compute a day from all of its reports and store it; repeating it changes nothing.

        Raises InfluxError, StoreUnavailable.
        """
        stored = (await stored_days(self.influx, day, day, DAILY_LIBRENMS)).get(day)
        if why := await self._fixed(stored, day, now, force=force):
            return RolledDay(why)
        final = is_final(day, now)
        found = await self._read(day, whole=final)
        if not force and stored is not None and _would_lose(stored, found.reports):
            return RolledDay("refused", found.reports)
        computed = await self._compute(day, found, final=final)
        # The headline numbers are stored last: a day that has them has its table too.
        for measurement, points in computed.items():
            await store(self.influx, measurement, points, _at(day))
        return RolledDay("written", found.reports, final=final)

    async def differences(self, day: date, now: datetime) -> dict[str, int] | None:
        """Count the stored points that differ from computed ones, by measurement.

        None if the day must not be computed again. Nothing is changed. Raises InfluxError.
        """
        stored = (await stored_days(self.influx, day, day, DAILY_LIBRENMS)).get(day)
        if await self._fixed(stored, day, now, force=False):
            return None
        found = await self._read(day, whole=is_final(day, now))
        if stored is None and not found.reports:
            return {}
        computed = await self._compute(day, found, final=is_final(day, now))
        differing = {}
        for measurement, points in computed.items():
            held = await stored_points(self.influx, measurement, _at(day))
            wrong = sum(held.get(key) != points.get(key) for key in held.keys() | points)
            if wrong:
                differing[measurement.name] = wrong
        return differing

    async def _fixed(
        self, stored: StoredDay | None, day: date, now: datetime, *, force: bool
    ) -> str:
        """Reason why a day must not be computed, in one word; empty if it may be."""
        if may_have_expired(day, now, self.retention_s):
            return "expired"
        if day in await complete_days(self.erasures, now):
            return "erasing"
        if stored is None or not stored.final or force or not stored.number("erased_reports"):
            return ""
        count = (await self.counts(day, day)).get(day, 0)
        return "erased" if _counted(stored, count) == stored.number("reports") else ""

    async def _compute(
        self, day: date, found: _Read, *, final: bool
    ) -> Mapping[Measurement, Points]:
        numbers, totals = await asyncio.to_thread(
            librenms_points,
            found.rows,
            found.installs,
            day_ns(day),
            reports=found.reports,
            k=self.k,
            final=final,
        )
        return {DAILY_LIBRENMS_TOTALS: totals, DAILY_LIBRENMS: numbers}

    async def _read(self, day: date, *, whole: bool) -> _Read:
        """Read a day's reports, with their content if `whole`. Raises InfluxError."""
        await load(FRAMES)
        where = span_of(day, day).where()
        heads = await read(self.influx, Select.rows(LIBRENMS_REPORT, (OWNER, "points"), where))
        # In order of time, so that the last report of an install replaces its earlier ones.
        rows = sorted(rows_of(heads), key=lambda row: int(row["time"]))
        last = {row[OWNER]: (int(row["time"]), int(row["points"] or 0)) for row in rows}
        content = pl.DataFrame(schema=columns())
        if whole:
            types = {OWNER: pl.String(), "totals": pl.String()}
            select = Select.rows(LIBRENMS_CONTENT, tuple(types), where)
            parts = await read_frame(self.influx, select, lambda: Rows(types))
            content = await asyncio.to_thread(_rows_of_last, parts, last)
        return _Read(len(rows), sorted(last), content)


def _rows_of_last(parts: pl.DataFrame, last: Mapping[str, tuple[int, int]]) -> pl.DataFrame:
    """The rows (`librenms_tables.columns`) of the last report of each install."""
    spans = pl.DataFrame(
        [(install, at, at + points * STEP_NS) for install, (at, points) in last.items()],
        schema={OWNER: pl.String(), "at": pl.Int64(), "until": pl.Int64()},
        orient="row",
    )
    totals = pl.List(
        pl.Struct({"g": pl.String(), "n": pl.String(), "v": pl.String(), "t": pl.Int64()})
    )
    return (
        parts.join(spans, on=OWNER)
        .filter(
            (pl.col("time") > pl.col("at"))
            & (pl.col("time") <= pl.col("until"))
            & pl.col("totals").is_not_null()
        )
        .select(
            pl.col(OWNER).alias("install"),
            pl.col("totals").str.json_decode(totals).alias("rows"),
        )
        .explode("rows")
        .unnest("rows")
        .filter(pl.col("t").is_not_null())
        .rename({"g": "group", "n": "name", "v": "value", "t": "total"})
    )


def _at(day: date) -> Span:
    return Span(day_ns(day), day_ns(day) + 1)


def _would_lose(stored: StoredDay, reports: int) -> bool:
    """Whether a final day would lose too many reports to be stored without `force`."""
    left = stored.number("reports") - stored.number("erased_reports")
    return stored.final and reports < _LEAST_RATIO * left


def _counted(stored: StoredDay, count: int) -> int:
    """Number of reports of a day, including those erased since it was final."""
    return count + (stored.number("erased_reports") if stored.final else 0)


def _is_due(stored: StoredDay | None, count: int, day: date, now: datetime) -> bool:
    if stored is None:
        # A day without reports is stored once it is over.
        return count > 0 or is_final(day, now)
    if _counted(stored, count) != stored.number("reports"):
        return True
    return not stored.final and is_final(day, now)
