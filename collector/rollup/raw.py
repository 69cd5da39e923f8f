"""What the rollup reads of `usage_raw`: how much there is of each day, and a whole day."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Final

from collector.influx import Influx
from collector.rollup.cache import RawCount
from collector.rollup.facts import DayFacts, Rows, columns, gather
from collector.rollup.store import Span
from collector.schema import NODE_REPORT, RAW, SERVER_REPORT, Measurement

_NS: Final = 10**9
_PIECE: Final = 8 << 20


def start_of(day: date) -> datetime:
    """The first moment of a UTC day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def day_ns(day: date) -> int:
    """The start of a UTC day, in ns since 1970."""
    return int(start_of(day).timestamp()) * _NS


def day_of(time_ns: int) -> date:
    """The UTC day of a time in ns since 1970."""
    return datetime.fromtimestamp(time_ns // _NS, UTC).date()


def span_of(first: date, last: date) -> Span:
    """The time from the start of one day to the end of another."""
    return Span(day_ns(first), day_ns(last + timedelta(days=1)))


async def raw_counts(influx: Influx, first: date, last: date) -> dict[date, RawCount]:
    """How many rows each day from `first` to `last` has; days of none are left out."""
    reports = await _counts(influx, SERVER_REPORT, "server", first, last)
    nodes = await _counts(influx, NODE_REPORT, "node", first, last)
    return {day: RawCount(reports.get(day, 0), nodes.get(day, 0)) for day in reports.keys() | nodes}


async def imported_days(influx: Influx, first: date, last: date) -> set[date]:
    """The days with reports of which every one came from an older server's database.

    They hold each node's last report only, so they can tell who was there, but not a day's numbers.
    """
    reports = await _counts(influx, SERVER_REPORT, "server", first, last)
    imported = await _counts(influx, SERVER_REPORT, "imported", first, last)
    return {day for day, count in imported.items() if count == reports.get(day)}


async def _counts(
    influx: Influx, measurement: Measurement, field: str, first: date, last: date
) -> dict[date, int]:
    found = await influx.query(
        RAW,
        f"SELECT count({field}) FROM {measurement.name}"
        f" WHERE {span_of(first, last).where()} GROUP BY time(1d) fill(none)",
    )
    return {day_of(time): count for series in found for time, count in series.values if count}


async def read_facts(influx: Influx, day: date) -> DayFacts:
    """A day's facts from all of its raw rows. Raises InfluxError."""
    nodes = await _rows(influx, NODE_REPORT, day)
    servers = await _rows(influx, SERVER_REPORT, day)
    return await asyncio.to_thread(lambda: gather(nodes.frame(), servers.frame()))


async def _rows(influx: Influx, measurement: Measurement, day: date) -> Rows:
    chosen = ",".join(columns(measurement))
    statement = f"SELECT {chosen} FROM {measurement.name} WHERE {span_of(day, day).where()}"
    rows = Rows(measurement)
    piece = bytearray()
    # Parsing happens while InfluxDB prepares what comes next.
    parsing: asyncio.Future[Rows] | None = None
    async for part in influx.stream_csv(measurement.database, statement):
        piece += part
        if len(piece) >= _PIECE:
            if parsing is not None:
                await parsing
            parsing = asyncio.ensure_future(asyncio.to_thread(rows.add, bytes(piece)))
            piece.clear()
    if parsing is not None:
        await parsing
    return await asyncio.to_thread(rows.add, bytes(piece))
