"""Synchronisation of a process's tag budgets with the memory, which all processes share."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from collector.memory import Memory, MemoryUnavailable
from collector.tag_budget import FIRM_DAYS, Change, TagBudget, TagValue

if TYPE_CHECKING:
    from collector.intakes.intake import IntakeContext

_PAUSE_S: Final = 1.0
_LOOK_S: Final = 5.0
_MOST_WAITING: Final = 50_000
_SECONDS_PER_DAY: Final = 86_400
_LONGEST_DAYS: Final = 3650


def shared_budget(
    context: IntakeContext, budgets: Mapping[str, int], *, retention_s: int
) -> tuple[TagBudget, TagSync]:
    """A budget for these tags with the values of the memory, and its synchronisation.

    Values are remembered as long as reports are stored, `retention_s` seconds (0: for ever). Also
    sets the metrics of each tag. Raises MemoryUnavailable.
    """
    memory, metrics = context.memory, context.metrics
    memory_days = retention_s // _SECONDS_PER_DAY or _LONGEST_DAYS
    since = int(time.time()) // _SECONDS_PER_DAY - FIRM_DAYS
    budget = TagBudget(
        budgets,
        memory_days=memory_days,
        seen=memory.tags.values(),
        server_counts=memory.tags.server_counts(since_day=since),
    )
    for tag, most in budgets.items():
        metrics.tag_budget.labels(tag).set(most)
        metrics.follow(metrics.tag_values.labels(tag), partial(budget.held, tag))
    return budget, TagSync(memory, budget, memory_days=memory_days)


class TagSync:
    """Writes changes of a budget to the memory once a second, and reads those of other processes.

    Other processes are the workers and commands of the same state directory. A change lost in a
    crash is made again with the next report of its value. Values without a report for `memory_days`
    are deleted.
    """

    def __init__(self, memory: Memory, budget: TagBudget, *, memory_days: int) -> None:
        self._memory = memory
        self._budget = budget
        self._memory_days = memory_days
        self._waiting: list[Change] = []
        self._stamp: object = None
        self._looked = time.monotonic()
        self._day = -1

    def add(self, changes: Iterable[Change]) -> None:
        """Queue changes. If the memory stays unavailable for long, the oldest are lost."""
        self._waiting += changes
        del self._waiting[:-_MOST_WAITING]

    async def run(self) -> None:
        """Synchronise until cancelled, then write the queued changes."""
        try:
            while True:
                await asyncio.sleep(_PAUSE_S)
                # Tried again in the next step; other code logs that the memory is unavailable.
                with contextlib.suppress(MemoryUnavailable):
                    await self._step()
        finally:
            if self._waiting:
                with contextlib.suppress(MemoryUnavailable):
                    self._memory.tags.keep(self._waiting)

    async def _step(self) -> None:
        if self._waiting:
            taken, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._memory.tags.keep, taken)
            # After any failure or cancellation, the changes may not be stored: queue them again.
            except BaseException:
                self._waiting = taken + self._waiting
                raise
        if time.monotonic() - self._looked < _LOOK_S:
            return
        self._looked = time.monotonic()
        found = await asyncio.to_thread(self._look, int(time.time()) // _SECONDS_PER_DAY)
        if found is not None:
            stamp, values, server_counts = found
            self._budget.replace(values, server_counts, self._waiting)
            self._stamp = stamp

    def _look(self, today: int) -> tuple[object, list[TagValue], dict[tuple[str, str], int]] | None:
        """The memory's stamp, values, and number of servers of each value; None if unchanged.

        Deletes values and sightings past their age.
        """
        tags = self._memory.tags
        if today != self._day:
            tags.forget_before(values=today - self._memory_days, sightings=today - FIRM_DAYS)
            self._day = today
        # Taken before reading, so that the next look sees a change made meanwhile.
        stamp = self._memory.store.stamp()
        if stamp == self._stamp:
            return None
        return stamp, tags.values(), tags.server_counts(since_day=today - FIRM_DAYS)
