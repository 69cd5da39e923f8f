"""Rollup of one UTC day: whether it may be computed, and storing its points in place of others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Final

from collector.days import ONE_DAY
from collector.influx import Influx
from collector.lazy import pl
from collector.rollup.cache import Basis, FactsCache, RawCount, Replacement
from collector.rollup.compute import (
    ComputedDay,
    Computer,
    DayResult,
    Outcome,
    Planner,
    all_ended,
)
from collector.rollup.inputs import (
    DayInputs,
    StoredDay,
    complete_days,
    may_have_expired,
    read_inputs,
)
from collector.rollup.lookback import PRESENCE_DAYS
from collector.rollup.ranges import plan
from collector.rollup.store import Change, replace_points

UP_TO_1_GIB: Final = partial(plan, 1 << 30)
_LEAST_RATIO: Final = 0.8
"""A final day may drop to this ratio of its stored reports and nodes without `force`."""


class Daily:
    """Rolls up days of one InfluxDB under a given k.

    `retention_s` is the retention of raw reports in seconds, 0 for unlimited. `erasures` returns
    the days of unfinished erasures, and `listed` the pseudonyms of the nodes on the node list, if
    there is one; both may block. `planner` chooses by how many ranges a day is computed.
    """

    def __init__(
        self,
        influx: Influx,
        *,
        k: int,
        retention_s: int,
        cache: FactsCache,
        erasures: Callable[[], Set[date]] = frozenset,
        listed: Callable[[], pl.Series | None] = lambda: None,
        planner: Planner = UP_TO_1_GIB,
    ) -> None:
        self._influx = influx
        self._retention_s = retention_s
        self._cache = cache
        self._erasures = erasures
        self._computer = Computer(influx, k=k, cache=cache, planner=planner, listed=listed)

    async def roll(self, day: date, now: datetime, *, force: bool = False) -> DayResult:
        """Compute a day from all of its raw reports and store it; repeating it changes nothing.

        A day without reports is stored as zeros, unless it is before the first day of the series.
        If windows or hours cannot be computed, the rest of the day is stored and the day stays due.
        Raises InfluxError, StoreUnavailable, and OSError if rows do not fit on the disk.
        """
        inputs = await self.read_inputs(day, now)
        if (fixed := await self.fixed(inputs, now, force=force)) is not None:
            if fixed is Outcome.ERASED:
                # The day may have been due only because its basis was unknown.
                await asyncio.to_thread(self._cache.save_basis, day, inputs.basis())
            return DayResult(day, fixed)
        with self._cache.replace(day) as new:
            # The units of the open day would be outdated at once.
            saving = new if day < now.date() else None
            sums = await self._computer.sum(inputs, now, saving)
            computed = await asyncio.to_thread(self._computer.points, sums)
            result = computed.result
            if not force and _would_lose(inputs.stored_row, result):
                return replace(result, outcome=Outcome.REFUSED)
            # After an interruption the day is due again.
            await asyncio.to_thread(self._cache.delete_basis, day)
            await self._store(computed, computed.changes(sums.stored), saving)
        if result.outcome is Outcome.EMPTY or result.failed is not None:
            return result
        await asyncio.to_thread(self._cache.save_basis, day, computed.basis)
        return result

    async def _store(
        self, computed: ComputedDay, changes: Sequence[Change], saving: Replacement | None
    ) -> None:
        """Store the points of a day, and its units in the cache. Raises InfluxError."""
        storing: list[Awaitable[None]] = []
        if saving is not None and computed.result.outcome is not Outcome.EMPTY:
            count = computed.basis.get(computed.result.day, RawCount())
            storing.append(asyncio.to_thread(saving.commit, count))
        storing.append(replace_points(self._influx, changes[:-1]))
        # All are awaited after an error too: nothing of this day may be written later.
        await all_ended(*storing)
        # The headline numbers are stored last: a day that has them has its tables too.
        await replace_points(self._influx, changes[-1:])

    async def read_inputs(self, day: date, now: datetime) -> DayInputs:
        """Read the inputs of a day. Raises InfluxError, StoreUnavailable."""
        erasing = await self.erasing(now)
        return await read_inputs(self._influx, day, now, self._retention_s, erasing)

    async def erasing(self, now: datetime) -> frozenset[date]:
        """The complete days of unfinished erasures. Raises StoreUnavailable."""
        return await complete_days(self._erasures, now)

    async def fixed(
        self, inputs: DayInputs, now: datetime, *, force: bool = False
    ) -> Outcome | None:
        """Why a stored day must not be computed again, or None if it may. Raises InfluxError."""
        if may_have_expired(inputs.day, now, self._retention_s):
            return Outcome.EXPIRED
        stored = inputs.stored_row
        if inputs.imported or (stored is not None and stored.imported):
            return Outcome.IMPORTED
        if inputs.day in inputs.erasing:
            return Outcome.ERASING
        if stored is None or not stored.final or force:
            return None
        erased = any(found.erased != RawCount() for found in inputs.stored.values())
        if erased or inputs.erasing & inputs.stored.keys():
            basis = inputs.basis()
            if basis.get(inputs.day, RawCount()) == stored.counted and (
                stored.erased != RawCount() or await self._has_basis(inputs.day, basis, now)
            ):
                return Outcome.ERASED
        return None

    async def _has_basis(self, day: date, basis: Basis, now: datetime) -> bool:
        """Whether the day's cached basis equals `basis`; also true if none is cached."""
        cached = await asyncio.to_thread(self._cache.basis, day)
        return cached is None or all(
            cached.get(d, RawCount()) == basis.get(d, RawCount())
            for back in range(PRESENCE_DAYS)
            if not may_have_expired(d := day - timedelta(days=back), now, self._retention_s)
        )

    async def differences(self, inputs: DayInputs, now: datetime) -> dict[str, int]:
        """Count the stored points of each measurement that differ from the computed ones.

        Nothing is changed. Raises InfluxError, and any error in the day's windows or hours.
        """
        sums = await self._computer.sum(inputs, now)
        computed = await asyncio.to_thread(self._computer.points, sums)
        if computed.result.failed is not None:
            raise computed.result.failed
        found = {}
        for change in computed.changes(sums.stored):
            stored, points = change.stored, change.points
            wrong = sum(stored.get(key) != points.get(key) for key in stored.keys() | points)
            if wrong:
                found[change.measurement.name] = wrong
        return found

    def forget(self, days: Iterable[date]) -> None:
        """Delete all cached facts of these days.

        Raises OSError if files of a day remain; the other days are deleted all the same.
        """
        self._computer.forget()
        failed: OSError | None = None
        for day in days:
            try:
                self._cache.forget(day)
            except OSError as error:
                failed = error
        if failed is not None:
            raise failed

    def forget_expired(self, now: datetime) -> None:
        """Delete the cache entries of days whose raw data has expired or begins to expire."""
        month = now.date() - timedelta(days=PRESENCE_DAYS)
        oldest = date.min
        if self._retention_s:
            oldest = (now - timedelta(seconds=self._retention_s)).date() + ONE_DAY
        self._cache.drop_before(max(month, oldest), oldest)


def _would_lose(stored: StoredDay | None, result: DayResult) -> bool:
    """Whether a final day would lose more reports or nodes than is stored without `force`."""
    if stored is None or not stored.final:
        return False
    return result.reports < _LEAST_RATIO * stored.number(
        "reports"
    ) or result.nodes < _LEAST_RATIO * stored.number("nodes")
