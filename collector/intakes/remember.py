"""Puts values of tags that an intake admits into the memory, off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Final

from collector.admission import TagValue
from collector.memory import Memory, MemoryUnavailable

_PAUSE_S: Final = 1.0


class TagNews:
    """Values to be remembered; those of a second go into the memory together.

    A value that a crash loses is remembered when it is said again.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._waiting: list[TagValue] = []

    def add(self, values: Iterable[TagValue]) -> None:
        """Have values remembered soon."""
        self._waiting += values

    async def run(self) -> None:
        """Remember what is added, until cancelled; then what waits."""
        try:
            while True:
                await asyncio.sleep(_PAUSE_S)
                # A memory that cannot be written now is tried again; others say so in the log.
                with contextlib.suppress(MemoryUnavailable):
                    await asyncio.to_thread(self._store)
        finally:
            with contextlib.suppress(MemoryUnavailable):
                self._store()

    def _store(self) -> None:
        stored = len(self._waiting)
        if stored:
            self._memory.tags.admit(self._waiting[:stored])
            del self._waiting[:stored]
