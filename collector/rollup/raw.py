"""Reads of `usage_raw` for the rollup: row counts by day, and all rows of one day."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import astuple
from datetime import date, timedelta
from typing import Final

from collector.days import day_ns, day_of
from collector.influx import Influx, InfluxError, Select, identifier, read
from collector.influx.frames import read_frame
from collector.rollup.cache import RawCount
from collector.rollup.facts import Rows, columns
from collector.rollup.ranges import Plan, slices
from collector.rollup.spill import DayRows
from collector.rollup.store import Span
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


def span_of(first: date, last: date) -> Span:
    """The span from the start of `first` to the end of `last`."""
    return Span(day_ns(first), day_ns(last + timedelta(days=1)))


async def raw_counts(influx: Influx, first: date, last: date) -> dict[date, RawCount]:
    """The number of raw rows of each day from `first` to `last`; days without rows are left out.

    Rows in quarantine are not counted. Raises InfluxError.
    """
    counts, _ = await count_rows(influx, first, last)
    return counts


async def count_rows(
    influx: Influx, first: date, last: date
) -> tuple[dict[date, RawCount], set[date]]:
    """The raw counts of days, and those of the days that have rows in quarantine.

    Raises InfluxError.
    """
    reports, nodes, *out = await asyncio.gather(
        _counts(influx, SERVER_REPORT, "server", first, last),
        _counts(influx, NODE_REPORT, "node", first, last),
        _counts(influx, SERVER_REPORT, QUARANTINE, first, last, where=QUARANTINED),
        _counts(influx, NODE_REPORT, QUARANTINE, first, last, where=QUARANTINED),
    )
    found = {
        day: RawCount(
            *(
                rows.get(day, 0) - gone.get(day, 0)
                for rows, gone in zip((reports, nodes), out, strict=True)
            )
        )
        for day in reports.keys() | nodes
    }
    counts = {day: count for day, count in found.items() if count != RawCount()}
    return counts, {day for gone in out for day in gone}


async def imported_days(influx: Influx, counts: Mapping[date, RawCount]) -> set[date]:
    """The days of `counts` whose reports were all imported from an older server.

    An import brings only the last report of each node, so that a day's numbers cannot be computed
    from it. Raises InfluxError.
    """
    if not counts:
        return set()
    imported = await imported_reports(influx, min(counts), max(counts))
    return {day for day, count in counts.items() if 0 < count.reports == imported.get(day)}


async def imported_reports(influx: Influx, first: date, last: date) -> dict[date, int]:
    """The number of imported reports of each day that has any. Raises InfluxError."""
    return await _counts(influx, SERVER_REPORT, "imported", first, last)


async def _counts(
    influx: Influx,
    measurement: Measurement,
    field: str,
    first: date,
    last: date,
    *,
    where: str = "",
) -> dict[date, int]:
    condition = f" AND {where}" if where else ""
    select = Select(
        RAW,
        measurement.name,
        [f"count({identifier(field)})"],
        span_of(first, last).where() + condition,
        "GROUP BY time(1d) fill(none)",
    )
    found = await read(influx, select)
    return {day_of(time): count for series in found for time, count in series.values if count}


async def opted_out_reports(influx: Influx, day: date) -> int:
    """The number of reports of a day that were dropped for an opt-out. Raises InfluxError."""
    return (await _counts(influx, OPTED_OUT_REPORT, "reports", day, day)).get(day, 0)


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
        marked = bool(await _counts(influx, measurement, QUARANTINE, day, day, where=QUARANTINED))
    names = [*columns(measurement), *([QUARANTINE] if marked else [])]
    for span, count in await _slices(influx, measurement, day, rows.plan, least):
        select = Select.rows(measurement, names, span.where())
        frame = await read_frame(influx, select, lambda: Rows(measurement, marked=marked), count)
        await asyncio.to_thread(rows.add, measurement, frame)


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
