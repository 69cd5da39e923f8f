"""Reads of `usage_raw` for the rollup: row counts by day, and all rows of one day."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence, Set
from dataclasses import astuple, dataclass
from datetime import date, timedelta
from typing import Final

from collector.days import day_ns, day_of
from collector.influx import Influx, InfluxError, Select, Series, identifier, read, read_each
from collector.influx.contents import Span
from collector.influx.frames import read_frame
from collector.rollup.cache import RawCount
from collector.rollup.facts import Rows, columns
from collector.rollup.ranges import Plan, slices
from collector.rollup.spill import DayRows
from collector.schema import (
    NODE_REPORT,
    OPTED_OUT_REPORT,
    QUARANTINE,
    RAW,
    SERVER_REPORT,
    Measurement,
)

QUARANTINED: Final = f"{QUARANTINE} > 0"
"""InfluxQL condition that selects the rows in quarantine."""
OLDEST: Final = Select(RAW, SERVER_REPORT.name, ["first(server)"])
"""Selects the oldest raw report."""


def span_of(first: date, last: date) -> Span:
    """The span from the start of `first` to the end of `last`."""
    return Span(day_ns(first), day_ns(last + timedelta(days=1)))


@dataclass(frozen=True, slots=True)
class RawDays:
    """Numbers of raw rows of days; days without any are left out.

    Rows in quarantine are not in `counts`; the days that have some are in `quarantined`. `imported`
    days have reports of an older server only: an import brings the last report of each node, so
    that a day's numbers cannot be computed from it. `opted_out` are numbers of reports that were
    dropped for an opt-out. `oldest` is the day of the oldest raw report, before `first` too; None
    if there is none.
    """

    counts: Mapping[date, RawCount]
    quarantined: Set[date]
    imported: Set[date]
    opted_out: Mapping[date, int]
    oldest: date | None


async def read_days(influx: Influx, first: date, last: date) -> RawDays:
    """Count the raw rows of each day from `first` to `last`. Raises InfluxError."""
    servers, nodes = await asyncio.gather(
        read_each(
            influx,
            [
                counting(SERVER_REPORT, "server", first, last),
                counting(SERVER_REPORT, QUARANTINE, first, last, where=QUARANTINED),
                counting(SERVER_REPORT, "imported", first, last),
                counting(OPTED_OUT_REPORT, "reports", first, last),
                OLDEST,
            ],
        ),
        read_each(
            influx,
            [
                counting(NODE_REPORT, "node", first, last),
                counting(NODE_REPORT, QUARANTINE, first, last, where=QUARANTINED),
            ],
        ),
    )
    reports, out, imported, opted_out = (by_day(series) for series in servers[:4])
    node_reports, nodes_out = (by_day(series) for series in nodes)
    found = {
        day: RawCount(
            reports.get(day, 0) - out.get(day, 0),
            node_reports.get(day, 0) - nodes_out.get(day, 0),
        )
        for day in reports.keys() | node_reports
    }
    counts = {day: count for day, count in found.items() if count != RawCount()}
    return RawDays(
        counts,
        out.keys() | nodes_out,
        {day for day, count in counts.items() if 0 < count.reports == imported.get(day)},
        opted_out,
        first_day(servers[4]),
    )


def first_day(found: Sequence[Series]) -> date | None:
    """The day of the first row of a result; None if it has none."""
    return day_of(found[0].values[0][0]) if found else None


def counting(
    measurement: Measurement, field: str, first: date, last: date, *, where: str = ""
) -> Select:
    """Select the number of rows of each day that have a field."""
    condition = f" AND {where}" if where else ""
    return Select(
        measurement.database,
        measurement.name,
        [f"count({identifier(field)})"],
        span_of(first, last).where() + condition,
        "GROUP BY time(1d) fill(none)",
    )


def by_day(found: Sequence[Series]) -> dict[date, int]:
    """The number of each day that has any, of a result of `counting`."""
    return {day_of(time): count for series in found for time, count in series.values if count}


async def read_rows(
    influx: Influx,
    day: date,
    rows: DayRows,
    least: RawCount | None = None,
    *,
    marked: bool | None = None,
) -> None:
    """Read all raw rows of a day. Raises InfluxError, OSError.

    `least` is a count of the day's rows made just before, and `marked` tells whether some are in
    quarantine; without them InfluxDB is asked again.
    """
    reports, node_reports = (None, None) if least is None else astuple(least)
    try:
        # InfluxDB uses one core for each query.
        async with asyncio.TaskGroup() as reading:
            reading.create_task(_read_rows(influx, NODE_REPORT, day, rows, node_reports, marked))
            reading.create_task(_read_rows(influx, SERVER_REPORT, day, rows, reports, marked))
    except* (InfluxError, OSError) as failed:
        raise failed.exceptions[0] from None


async def _read_rows(
    influx: Influx,
    measurement: Measurement,
    day: date,
    rows: DayRows,
    least: int | None,
    marked: bool | None,
) -> None:
    # Few days have such rows, and an additional column slows down every read.
    if marked is None:
        some = counting(measurement, QUARANTINE, day, day, where=QUARANTINED)
        marked = bool(by_day(await read(influx, some)))
    names = [*columns(measurement), *([QUARANTINE] if marked else [])]
    parts = await _slices(influx, measurement, day, rows.plan, least)
    for number, (span, count) in enumerate(parts, start=1):
        select = Select.rows(measurement, names, span.where())
        frame = await read_frame(influx, select, lambda: Rows(measurement, marked=marked), count)
        await asyncio.to_thread(rows.add, measurement, frame, last=number == len(parts))


async def _slices(
    influx: Influx, measurement: Measurement, day: date, plan: Plan, least: int | None
) -> list[tuple[Span, int | None]]:
    """The slices of time that a day is read by, with their numbers of rows if these are known."""
    span = span_of(day, day)
    if plan.ranges == 1:
        return [(span, least)]
    unit = identifier(columns(measurement)[0])
    select = Select(
        RAW, measurement.name, [f"count({unit})"], span.where(), "GROUP BY time(1m) fill(none)"
    )
    counts = {
        time: count
        for series in await read(influx, select)
        for time, count in series.values
        if count
    }
    return [*slices(counts, span, plan.slice_rows)]
