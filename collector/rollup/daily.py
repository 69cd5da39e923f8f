"""One UTC day: its raw rows read, counted, made safe, and stored; what is stale is removed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

from collector.influx import Influx, InfluxError, Written, day_csv, identifier, string
from collector.lines import FieldValue, line, tag_set
from collector.rollup.counts import DayCounts, columns, count_day, read
from collector.rollup.tables import Cell, published_tables, usage_counts
from collector.schema import (
    DAILY,
    DAILY_NODES,
    DAILY_SERVERS,
    DAILY_USAGE,
    NODE_REPORT,
    SERVER_REPORT,
    Measurement,
)

FINAL_AFTER: Final = timedelta(hours=1)
"""A day is final once computed this long after its end: what was under way then has arrived."""
_BATCH: Final = 5000
_NS: Final = 10**9

Tags = tuple[tuple[str, str], ...]
"""The tags of a point, in order of name."""
Points = dict[Tags, dict[str, FieldValue]]
"""The points of one measurement and time."""


class Outcome(StrEnum):
    """What a run over a day came to."""

    WRITTEN = "written"
    EMPTY = "empty"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class DayResult:
    """A day, what the run came to, and the day's headline numbers."""

    day: date
    outcome: Outcome
    reports: int = 0
    servers: int = 0
    nodes: int = 0
    final: bool = False


def day_ns(day: date) -> int:
    """The start of a UTC day, in ns since 1970."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * _NS


def is_final(day: date, now: datetime) -> bool:
    """Whether a day computed at `now` is complete."""
    return now >= _start(day) + timedelta(days=1) + FINAL_AFTER


def may_have_expired(day: date, now: datetime, retention_s: int) -> bool:
    """Whether raw data of a day may have begun to expire, so that it can't be counted any more."""
    return retention_s > 0 and _start(day) < now - timedelta(seconds=retention_s)


def _start(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


class Daily:
    """Rolls up days of one InfluxDB under a given k; `retention_s` is raw retention (0: ever)."""

    def __init__(self, influx: Influx, *, k: int, retention_s: int) -> None:
        self._influx = influx
        self._k = k
        self._retention_s = retention_s

    async def roll(self, day: date, now: datetime) -> DayResult:
        """Compute a day from all of its raw reports and store it. Doing it again changes nothing.

        A day whose raw data may have begun to expire stays as it is. A day without reports is
        stored as zeros, unless it is before the first day of the series. Raises InfluxError.
        """
        if may_have_expired(day, now, self._retention_s):
            return DayResult(day, Outcome.EXPIRED)
        start, end = day_ns(day), day_ns(day + timedelta(days=1))
        node_csv = await day_csv(self._influx, NODE_REPORT, columns(NODE_REPORT), start, end)
        server_csv = await day_csv(self._influx, SERVER_REPORT, columns(SERVER_REPORT), start, end)
        counts = await asyncio.to_thread(_count, node_csv, server_csv)
        if counts.reports == 0 and not await self._has_earlier(start):
            return DayResult(day, Outcome.EMPTY)
        final = is_final(day, now)
        points = await asyncio.to_thread(day_points, counts, k=self._k, final=final)
        for measurement, wanted in points.items():
            await self._store(measurement, wanted, start)
        return DayResult(day, Outcome.WRITTEN, counts.reports, counts.servers, counts.nodes, final)

    async def _has_earlier(self, start: int) -> bool:
        return bool(
            await self._influx.query(
                DAILY, f"SELECT first(reports) FROM {DAILY_USAGE.name} WHERE time < {start}"
            )
        )

    async def _store(self, measurement: Measurement, points: Points, time: int) -> None:
        """Make the stored points of a time equal `points`: write these, remove all others."""
        stored = await self._stored(measurement, time)
        # A field cannot be taken out of a point, only the point removed and written anew.
        narrowed = {tags for tags in stored.keys() & points if stored[tags] - points[tags].keys()}
        for tags in sorted(narrowed):
            await self._remove(measurement, tags, time)
        lines = [
            line(measurement.name, tag_set(dict(tags)), fields, time)
            for tags, fields in points.items()
        ]
        for first in range(0, len(lines), _BATCH):
            batch = "\n".join(lines[first : first + _BATCH]).encode()
            result = await self._influx.write(DAILY, batch)
            if not isinstance(result, Written):
                raise InfluxError(f"{measurement.name} could not be written: {result}")
        stale = stored.keys() - points.keys()
        for tags in sorted(stale):
            await self._remove(measurement, tags, time)
        if narrowed or stale:
            # A delete can report success and leave rows.
            left = await self._stored(measurement, time)
            if left != {tags: set(fields) for tags, fields in points.items()}:
                raise InfluxError(f"{measurement.name}: what is stale could not be removed")

    async def _stored(self, measurement: Measurement, time: int) -> dict[Tags, set[str]]:
        """The names of the fields of each stored point of a time."""
        found = await self._influx.query(
            DAILY, f"SELECT * FROM {measurement.name} WHERE time = {time} GROUP BY *"
        )
        return {
            tuple(sorted(item for item in series.tags.items() if item[1])): {
                name
                for name, value in zip(series.columns, series.values[0], strict=True)
                if name != "time" and value is not None
            }
            for series in found
        }

    async def _remove(self, measurement: Measurement, tags: Tags, time: int) -> None:
        conditions = [f"{identifier(key)} = {string(value)}" for key, value in tags]
        await self._influx.delete(
            DAILY, measurement.name, " AND ".join([f"time = {time}", *conditions])
        )


def day_points(counts: DayCounts, *, k: int, final: bool) -> dict[Measurement, Points]:
    """What is published of a day's counts, under k."""
    node_cells = published_tables(counts.node_tables, k)
    server_cells = published_tables(counts.server_tables, k)
    usage: dict[str, FieldValue] = {
        "reports": counts.reports,
        "servers": counts.servers,
        "nodes": counts.nodes,
        "asterisk_versions": counts.asterisk_versions,
        "asl_versions": counts.asl_versions,
        **usage_counts(node_cells, counts.node_tables.one_way, k),
        "final": int(final),
    }
    return {
        DAILY_NODES: _table_points(node_cells, "nodes"),
        DAILY_SERVERS: _table_points(server_cells, "servers"),
        # Last, so that a day that has its headline numbers has its tables.
        DAILY_USAGE: {(): usage},
    }


def _table_points(cells: Iterable[Cell], field: str) -> Points:
    return {
        (
            ("dimension", cell.dimension),
            ("value", cell.value),
            ("within", cell.within),
            ("within_value", cell.within_value),
        ): {field: cell.count}
        for cell in cells
    }


def _count(node_csv: bytes, server_csv: bytes) -> DayCounts:
    return count_day(read(NODE_REPORT, node_csv), read(SERVER_REPORT, server_csv))
