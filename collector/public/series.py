"""The published series as the pages need them, remembered until the rollup writes again."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Final

import polars as pl

from collector.influx import Influx, Select, read, rows_of
from collector.influx.frames import Rows, read_frame
from collector.schema import ALL, DAILY, DAILY_NODES, DAILY_USAGE, HOURLY_USAGE

_NS_PER_S: Final = 10**9
_MEMORY_S: Final = 300.0
"""Another collector of the same InfluxDB may write too, without our knowing."""


@dataclass(frozen=True, slots=True)
class UsageDay:
    """One day of `daily_usage`; a field that may not be shown is absent."""

    day: date
    fields: dict[str, int]

    @property
    def final(self) -> bool:
        """Whether the day is complete."""
        return self.fields.get("final") == 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole daily series, oldest first, and the last complete day's tables of all nodes.

    `tables` maps a dimension to its values and counts; it is of `tables_day`, the last final day
    or, before there is one, the newest. `last_hour` is the start of the newest hour counted.
    `revision` differs from that of any snapshot that may differ.
    """

    days: list[UsageDay]
    tables_day: UsageDay | None
    tables: dict[str, dict[str, int]]
    last_hour: datetime | None = None
    revision: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def last_final(self) -> UsageDay | None:
        """The last complete day."""
        return next((day for day in reversed(self.days) if day.final), None)

    @property
    def open_day(self) -> UsageDay | None:
        """The newest day, where it is not complete."""
        return self.days[-1] if self.days and not self.days[-1].final else None


class PublicSeries:
    """Reads `usage_daily`, at most once between two changes of it.

    After `memory_s` it looks whether another collector has changed it.
    """

    def __init__(self, influx: Influx, *, memory_s: float = _MEMORY_S) -> None:
        self._influx = influx
        self._memory_s = memory_s
        self._snapshot: Snapshot | None = None
        self._taken = 0.0
        self._changes = 0
        self._lock = asyncio.Lock()

    def forget(self) -> None:
        """The series has changed."""
        self._snapshot = None
        self._changes += 1

    async def snapshot(self) -> Snapshot:
        """The series as it is. Raises InfluxError."""
        async with self._lock:
            if self._snapshot is not None and time.monotonic() - self._taken <= self._memory_s:
                return self._snapshot
            before, taken = self._changes, time.monotonic()
            snapshot = await self._read()
            if (
                self._snapshot is not None
                and replace(snapshot, revision=self._snapshot.revision) == self._snapshot
            ):
                # Only its time was up. What was made of it may stay.
                snapshot = self._snapshot
            if self._changes == before:
                # Nothing was written while it was read.
                self._snapshot, self._taken = snapshot, taken
            return snapshot

    async def _read(self) -> Snapshot:
        # InfluxDB needs a third less time for CSV than for JSON.
        names = [field.name for field in DAILY_USAGE.fields]
        counts = dict.fromkeys(names, pl.Int64())
        frame = await read_frame(
            self._influx, Select.rows(DAILY_USAGE, names), lambda: Rows(counts)
        )
        days = await asyncio.to_thread(_days, frame)
        # An imported day has headline numbers, but no tables.
        own = [day for day in days if "imported" not in day.fields]
        newest = next((day for day in reversed(own) if day.final), days[-1] if days else None)
        return Snapshot(
            days,
            newest,
            await self._tables(newest) if newest else {},
            await self._last_hour(),
        )

    async def _last_hour(self) -> datetime | None:
        found = await read(self._influx, Select(DAILY, HOURLY_USAGE.name, ["last(reports)"]))
        times = [row["time"] for row in rows_of(found)]
        return datetime.fromtimestamp(times[0] // _NS_PER_S, UTC) if times else None

    async def _tables(self, day: UsageDay) -> dict[str, dict[str, int]]:
        start = datetime(day.day.year, day.day.month, day.day.day, tzinfo=UTC)
        found = await read(
            self._influx,
            Select.rows(
                DAILY_NODES,
                ("nodes",),
                f"time = {int(start.timestamp())}s AND within = '{ALL}'",
                "GROUP BY dimension, value",
            ),
        )
        tables: dict[str, dict[str, int]] = {}
        for series in found:
            counts = tables.setdefault(series.tags["dimension"], {})
            counts[series.tags["value"]] = next(series.rows())["nodes"]
        return tables


def _days(frame: pl.DataFrame) -> list[UsageDay]:
    return [
        UsageDay(
            _day(row.pop("time")), {name: count for name, count in row.items() if count is not None}
        )
        for row in frame.iter_rows(named=True)
    ]


def _day(time_ns: int) -> date:
    return datetime.fromtimestamp(time_ns // _NS_PER_S, UTC).date()
