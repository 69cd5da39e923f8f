"""Reads of `usage_raw` for the rollup: row counts by day, and all rows of one day."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import astuple
from datetime import date, timedelta
from typing import Final

import polars as pl

from collector.days import day_ns, day_of
from collector.influx import Influx, InfluxError, Select, identifier, read
from collector.influx.frames import read_frame
from collector.rollup.cache import RawCount
from collector.rollup.facts import DayFacts, Rows, columns, gather
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
    return {day: count for day, count in found.items() if count != RawCount()}


async def imported_days(influx: Influx, counts: Mapping[date, RawCount]) -> set[date]:
    """The days of `counts` whose reports were all imported from an older server.

    An import brings only the last report of each node, so that a day's numbers cannot be computed
    from it. Raises InfluxError.
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


async def opted_out_reports(influx: Influx, day: date) -> int:
    """The number of reports of a day that were dropped for an opt-out. Raises InfluxError."""
    return (await _counts(influx, OPTED_OUT_REPORT, "reports", day, day)).get(day, 0)


async def read_facts(influx: Influx, day: date, least: RawCount | None = None) -> DayFacts:
    """Read all raw rows of a day and gather its facts. Raises InfluxError.

    `least` is a count of the day's rows made just before; without it InfluxDB counts them again.
    """
    reports, node_reports = (None, None) if least is None else astuple(least)
    try:
        # InfluxDB uses one core for each query.
        async with asyncio.TaskGroup() as reading:
            nodes = reading.create_task(_rows(influx, NODE_REPORT, day, node_reports))
            servers = reading.create_task(_rows(influx, SERVER_REPORT, day, reports))
    except* InfluxError as failed:
        raise failed.exceptions[0] from None
    return await asyncio.to_thread(lambda: gather(nodes.result(), servers.result()))


async def _rows(
    influx: Influx, measurement: Measurement, day: date, least: int | None
) -> pl.DataFrame:
    # Few days have such rows, and an additional column slows down every read.
    marked = bool(await _counts(influx, measurement, QUARANTINE, day, day, where=QUARANTINED))
    names = [*columns(measurement), *([QUARANTINE] if marked else [])]
    select = Select.rows(measurement, names, span_of(day, day).where())
    return await read_frame(influx, select, lambda: Rows(measurement, marked=marked), least)
