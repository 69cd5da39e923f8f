"""In-memory copy of the published daily series, valid until the rollup writes again."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Final

from collector.days import NS_PER_S, day_of
from collector.events.event import Event
from collector.events.stored import read_events
from collector.influx import Influx, InfluxError, InfluxUnavailable, Select, read, rows_of
from collector.influx.frames import Rows, read_frame
from collector.lazy import pl
from collector.months.stored import StoredMonth, stored_months
from collector.schema import ALL, DAILY, DAILY_NODES, DAILY_USAGE, HOURLY_USAGE

_MEMORY_S: Final = 300.0
"""Lifetime of a copy: another collector of the same InfluxDB may write without notice."""
_PATIENCE_S: Final = 3.0
"""Time that requests wait for a read of the series before they get the previous copy."""
_READ_S: Final = 20.0
"""Time limit of one read, in case InfluxDB never answers."""


@dataclass(frozen=True, slots=True)
class UsageDay:
    """One day of `daily_usage`; suppressed fields are absent."""

    day: date
    fields: dict[str, int]

    @property
    def final(self) -> bool:
        """Whether the day is complete."""
        return self.fields.get("final") == 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole daily series, oldest first, and the last complete day's tables of all nodes.

    `tables` maps a dimension to its values and counts on `tables_day`, the last final day or,
    before there is one, the newest. `events` are those of all days, `months` the
    months that have a report, oldest first. `last_hour` is
    the start of the newest hour counted. Snapshots with the same `revision` are equal. `as_of` is
    set if the series cannot be read now: it is the time at which these numbers were read.
    """

    days: list[UsageDay]
    tables_day: UsageDay | None
    tables: dict[str, dict[str, int]]
    last_hour: datetime | None = None
    events: tuple[Event, ...] = ()
    months: tuple[StoredMonth, ...] = ()
    revision: str = field(default_factory=lambda: secrets.token_hex(8))
    as_of: datetime | None = None

    @property
    def last_final(self) -> UsageDay | None:
        """The last complete day."""
        return next((day for day in reversed(self.days) if day.final), None)

    @property
    def open_day(self) -> UsageDay | None:
        """The newest day, if it is not complete."""
        return self.days[-1] if self.days and not self.days[-1].final else None


class PublicSeries:
    """Reads `usage_daily` and caches it, with one read for all requests that wait.

    The cache is valid until `forget` is called, and for `memory_s` at most. If a read takes longer
    than `patience_s`, requests get the previous snapshot while it goes on.
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
        """Invalidate the cached snapshot: the series has changed."""
        self._fresh_until = 0.0
        self._changes += 1

    async def snapshot(self) -> Snapshot:
        """The current series or, if it cannot be read, the previous snapshot with `as_of` set.

        Raises InfluxError if there is no previous snapshot.
        """
        now = time.monotonic()
        if self._last is not None and now <= self._fresh_until:
            return self._last
        reading = self._reading
        if reading is None or reading.task.done() or reading.changes != self._changes:
            # A read begun before a change may have missed it.
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
            # Nothing has changed: keep the revision, and so what is cached by it.
            snapshot = self._last
        if begun >= self._last_begun:
            self._last, self._last_read, self._last_begun = snapshot, at, begun
            if self._changes == changes:
                # Nothing was written during the read.
                self._fresh_until = begun + self._memory_s
        return snapshot

    async def _read(self) -> Snapshot:
        # InfluxDB writes CSV in a third less time than JSON.
        names = [field.name for field in DAILY_USAGE.fields]
        frame = await read_frame(
            self._influx,
            Select.rows(DAILY_USAGE, names),
            lambda: Rows(dict.fromkeys(names, pl.Int64())),
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
            tuple(await read_events(self._influx)),
            tuple(await stored_months(self._influx)),
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
    """A read in progress: the change it began after, and how long requests wait (loop time, s)."""

    task: asyncio.Task[Snapshot]
    changes: int
    until: float


def _retrieved(task: asyncio.Task[Snapshot]) -> None:
    """Retrieve the error of a read that no request awaits, lest asyncio log it."""
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
