"""Erasure notices of all collectors of one InfluxDB: points that give the days of an erasure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import structlog

from collector.influx import Influx, InfluxError, NoDatabase, Select, read, rows_of
from collector.jetstream.duties import Duties
from collector.memory import Notice
from collector.privacy import OwnerMark
from collector.rollup.daily import Daily
from collector.schema import ERASURE_NOTICE, OWNERS, Measurement
from collector.setting_types import oldest_kept
from collector.state import NotHeld

log = structlog.get_logger("collector.owners")

_EVERY_S: Final = 60.0
_STATEMENTS: Final = 100


class Notices:
    """Reads the notices that this process has not handled yet, and deletes expired ones.

    They are retained for `keep_seconds` (0: for ever), as long as any report: a collector that was
    off for longer has no report left that would be stored.
    """

    def __init__(self, influx: Influx, *, keep_seconds: int) -> None:
        self._influx = influx
        self._keep_seconds = keep_seconds
        self._seen: set[int] = set()

    @property
    def oldest_ns(self) -> int:
        """The time of the oldest notice that is retained, in ns since 1970."""
        return oldest_kept(self._keep_seconds)

    async def unseen(self) -> list[Notice]:
        """Read the notices not marked as seen. Raises InfluxError."""
        oldest = self.oldest_ns
        found = [
            Notice(OwnerMark(owner), at, days)
            for at, owner, days in await points(self._influx, ERASURE_NOTICE, "days")
        ]
        expired = [item.at_ns for item in found if item.at_ns < oldest]
        await delete_points(self._influx, ERASURE_NOTICE, expired)
        return [notice for notice in found if notice.at_ns not in self._seen]

    def mark_seen(self, notices: Iterable[Notice]) -> None:
        """Mark notices, so that `unseen` does not return them again."""
        self._seen |= {notice.at_ns for notice in notices}


async def forget_facts(
    daily: Daily, rolling: AbstractAsyncContextManager[None], notices: Iterable[Notice]
) -> None:
    """Delete the rollup's cached facts of the days of notices. Raises NotHeld, OSError.

    `rolling` is the lock under which the rollup writes them.
    """
    days = [day for notice in notices for day in notice.days.split(",") if day]
    async with rolling:
        await asyncio.to_thread(daily.forget, list(map(date.fromisoformat, days)))


@dataclass(eq=False)
class Follower(Duties):
    """Deletes the cached facts of erased days, in a process that erases nothing itself."""

    notices: Notices
    forget: Callable[[Iterable[Notice]], Awaitable[None]]
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def run(self) -> None:
        """Look for notices each minute, until cancelled."""
        while True:
            try:
                await self.notice()
            except (InfluxError, NotHeld, OSError) as error:
                log.warning("erasures by other collectors could not be followed", why=str(error))
            await asyncio.sleep(_EVERY_S)

    async def notice(self) -> None:
        """Carry out new notices. Raises InfluxError, NotHeld, OSError."""
        async with self._alone:
            try:
                found = await self.notices.unseen()
            except NoDatabase:
                # No receiver has delivered anything yet.
                return
            if found:
                await self.forget(found)
                self.notices.mark_seen(found)


async def points(
    influx: Influx, measurement: Measurement, field: str
) -> list[tuple[int, str, str]]:
    """Return each point as its time, owner's mark and one field, oldest first."""
    found = await read(influx, Select.rows(measurement, ("owner", field)))
    return [(int(row["time"]), row["owner"], row[field]) for row in rows_of(found)]


async def delete_points(influx: Influx, measurement: Measurement, times: Sequence[int]) -> None:
    """Delete the points at these times. Raises InfluxError."""
    for first in range(0, len(times), _STATEMENTS):
        statements = [
            f"DELETE FROM {measurement.name} WHERE time = {at}"
            for at in times[first : first + _STATEMENTS]
        ]
        await influx.query(OWNERS, *statements)
