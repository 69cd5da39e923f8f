"""What the rollup reads of `usage_raw`: how much there is of each day, and a whole day."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final

import polars as pl

from collector.days import day_ns, day_of
from collector.influx import Influx, InfluxError, Select, identifier, read
from collector.influx.frames import read_frame
from collector.rollup.cache import RawCount
from collector.rollup.facts import DayFacts, Rows, columns, gather
from collector.rollup.store import Span
from collector.schema import NODE_REPORT, QUARANTINE, RAW, SERVER_REPORT, Measurement

OUT_OF_SERIES: Final = f"{QUARANTINE} > 0"
"""Which rows are in quarantine, as a condition of InfluxQL."""


def span_of(first: date, last: date) -> Span:
    """The time from the start of one day to the end of another."""
    return Span(day_ns(first), day_ns(last + timedelta(days=1)))


async def raw_counts(influx: Influx, first: date, last: date) -> dict[date, RawCount]:
    """How many rows of the series each day from `first` to `last` has; days of none are left out.

    Rows in quarantine are none of the series.
    """
    reports, nodes, *out = await asyncio.gather(
        _counts(influx, SERVER_REPORT, "server", first, last),
        _counts(influx, NODE_REPORT, "node", first, last),
        _counts(influx, SERVER_REPORT, QUARANTINE, first, last, where=OUT_OF_SERIES),
        _counts(influx, NODE_REPORT, QUARANTINE, first, last, where=OUT_OF_SERIES),
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
    return {day: count for day, count in found.items() if count != RawCount()}


async def imported_days(influx: Influx, counts: Mapping[date, RawCount]) -> set[date]:
    """The days, of these that have reports, of which every one came from an older server.

    They hold each node's last report only, so they can tell who was there, but not a day's numbers.
    """
    if not counts:
        return set()
    imported = await _counts(influx, SERVER_REPORT, "imported", min(counts), max(counts))
    return {day for day, count in counts.items() if 0 < count.reports == imported.get(day)}


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


async def read_facts(influx: Influx, day: date) -> DayFacts:
    """A day's facts from all of its raw rows. Raises InfluxError, also where rows are missing."""
    try:
        # InfluxDB reads one measurement on one core.
        async with asyncio.TaskGroup() as reading:
            nodes = reading.create_task(_rows(influx, NODE_REPORT, day))
            servers = reading.create_task(_rows(influx, SERVER_REPORT, day))
    except* InfluxError as failed:
        raise failed.exceptions[0] from None
    return await asyncio.to_thread(lambda: gather(nodes.result(), servers.result()))


async def _rows(influx: Influx, measurement: Measurement, day: date) -> pl.DataFrame:
    # Hardly a day has such rows, and a column more costs every day.
    marked = bool(await _counts(influx, measurement, QUARANTINE, day, day, where=OUT_OF_SERIES))
    names = [*columns(measurement), *([QUARANTINE] if marked else [])]
    select = Select.rows(measurement, names, span_of(day, day).where())
    return await read_frame(influx, select, lambda: Rows(measurement, marked=marked))
