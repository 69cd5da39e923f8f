"""Tries again what fails for a passing reason: a connection refused, a shard being deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from collector.influx.errors import CutShort, InfluxUnavailable

T = TypeVar("T")

PAUSES_S: Final = (0.1, 0.3, 1.0)
"""Pauses before the second, third and fourth try."""


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Await `work`, again a few times while it raises InfluxUnavailable; then that is raised.

    An answer that was cut short is asked for once more only, since a limit will cut it again. A
    time-out is final: it has taken its time.
    """
    pauses = list(PAUSES_S)
    while True:
        try:
            return await work()
        except InfluxUnavailable as error:
            if not pauses or isinstance(error.__cause__, TimeoutError):
                raise
            pause = pauses.pop(0)
            if isinstance(error, CutShort):
                pauses.clear()
        await asyncio.sleep(pause)
