"""The published series as the pages need them, remembered until the rollup writes again."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Final

import polars as pl

from collector.days import NS_PER_S, day_of
from collector.influx import Influx, InfluxError, InfluxUnavailable, Select, read, rows_of
from collector.influx.frames import Rows, read_frame
from collector.schema import ALL, DAILY, DAILY_NODES, DAILY_USAGE, HOURLY_USAGE

_MEMORY_S: Final = 300.0
"""Another collector of the same InfluxDB may write too, without our knowing."""
_PATIENCE_S: Final = 3.0
"""How long readers wait for one reading of the series, before they are told of the last."""
_READ_S: Final = 20.0
"""After so long a reading is given up for another: whatever it waits for may have been lost."""


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
    `revision` differs from that of any snapshot that may differ. `as_of` is set where the series
    cannot be read now: the moment at which these, the last known numbers, were read.
    """

    days: list[UsageDay]
    tables_day: UsageDay | None
    tables: dict[str, dict[str, int]]
    last_hour: datetime | None = None
    revision: str = field(default_factory=lambda: secrets.token_hex(8))
    as_of: datetime | None = None

    @property
    def last_final(self) -> UsageDay | None:
        """The last complete day."""
        return next((day for day in reversed(self.days) if day.final), None)

    @property
    def open_day(self) -> UsageDay | None:
        """The newest day, where it is not complete."""
        return self.days[-1] if self.days and not self.days[-1].final else None


class PublicSeries:
    """Reads `usage_daily`, at most once between two changes of it, for all readers at once.

    After `memory_s` it looks whether another collector has changed it. A reading that takes longer
    than `patience_s` goes on, and its readers are told the last known numbers meanwhile.
    """

    def __init__(
        self, influx: Influx, *, memory_s: float = _MEMORY_S, patience_s: float = _PATIENCE_S
    ) -> None:
        self._influx = influx
        self._memory_s = memory_s
        self._patience_s = patience_s
        self._last: Snapshot | None = None
        self._last_read = datetime.min.replace(tzinfo=UTC)
        self._last_begun = 0.0
        self._fresh_until = 0.0
        self._changes = 0
        self._reading: _Reading | None = None

    def forget(self) -> None:
        """The series has changed."""
        self._fresh_until = 0.0
        self._changes += 1

    async def snapshot(self) -> Snapshot:
        """The series as it is or, where it cannot be read now, as it was, with `as_of` set.

        Raises InfluxError where it has never been read.
        """
        now = time.monotonic()
        if self._last is not None and now <= self._fresh_until:
            return self._last
        reading = self._reading
        if reading is None or reading.task.done() or reading.changes != self._changes:
            # What was begun before a change may have missed it.
            task = asyncio.create_task(self._refresh(self._changes), name="series")
            task.add_done_callback(_retrieved)
            reading = self._reading = _Reading(task, self._changes, now + self._patience_s)
        try:
            async with asyncio.timeout(max(0.0, reading.until - now)):
                return await asyncio.shield(reading.task)
        except (InfluxError, TimeoutError) as error:
            if self._last is None:
                raise InfluxUnavailable("the series cannot be read now") from error
            return replace(self._last, as_of=self._last_read)

    async def _refresh(self, changes: int) -> Snapshot:
        begun, at = time.monotonic(), datetime.now(UTC)
        async with asyncio.timeout(_READ_S):
            snapshot = await self._read()
        if self._last is not None and replace(snapshot, revision=self._last.revision) == self._last:
            # Only its time was up. What was made of it may stay.
            snapshot = self._last
        if begun >= self._last_begun:
            self._last, self._last_read, self._last_begun = snapshot, at, begun
            if self._changes == changes:
                # Nothing was written while it was read.
                self._fresh_until = begun + self._memory_s
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
        return datetime.fromtimestamp(times[0] // NS_PER_S, UTC) if times else None

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


@dataclass(frozen=True, slots=True)
class _Reading:
    """One reading of the series under way: after which change, and until when readers wait."""

    task: asyncio.Task[Snapshot]
    changes: int
    until: float


def _retrieved(task: asyncio.Task[Snapshot]) -> None:
    """Take note of an error that no reader waits for any more: the next reading tells it again."""
    if not task.cancelled():
        task.exception()


def _days(frame: pl.DataFrame) -> list[UsageDay]:
    return [
        UsageDay(
            day_of(row.pop("time")),
            {name: count for name, count in row.items() if count is not None},
        )
        for row in frame.iter_rows(named=True)
    ]
