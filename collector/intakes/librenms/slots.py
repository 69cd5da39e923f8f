"""Limits the number of large bodies in memory, in total and from one address."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from collector.admission import site_of


class Slots:
    """`total` slots for large bodies, of which one address may hold `per_address`.

    Addresses stay in main memory only, while they hold a slot.
    """

    def __init__(self, *, total: int, per_address: int) -> None:
        self._total = total
        self._per_address = per_address
        self._held: Counter[bytes] = Counter()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def one(self, address: str, *, within_s: float) -> AsyncIterator[bool]:
        """Hold a slot; yields False if none was free within `within_s` seconds."""
        site = site_of(address)
        try:
            async with asyncio.timeout(within_s):
                while not self._is_free(site):
                    self._freed.clear()
                    await self._freed.wait()
        except TimeoutError:
            yield False
            return
        self._held[site] += 1
        try:
            yield True
        finally:
            self._held[site] -= 1
            if not self._held[site]:
                del self._held[site]
            self._freed.set()

    def _is_free(self, site: bytes) -> bool:
        return self._held.total() < self._total and self._held[site] < self._per_address
