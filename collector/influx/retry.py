"""Retries of requests that fail for a passing reason, such as a shard being deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from collector.influx.errors import CutShort, InfluxUnavailable

T = TypeVar("T")

PAUSES_S: Final = (0.1, 0.3, 1.0)
"""Delays before the second, third and fourth try."""


async def retrying(work: Callable[[], Awaitable[T]]) -> T:
    """Await `work`, and retry it a few times while it raises InfluxUnavailable.

    A response that was cut short is retried once only, since a limit will cut it again. A time-out
    is not retried, since it has taken long already. Raises the last InfluxUnavailable.
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
