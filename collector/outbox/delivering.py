"""Lock between the loops that deliver entries and the code that deletes entries.

All processes and commands of a state directory use it. Delivery loops share it; deleting takes it
exclusively. Otherwise a loop could deliver an entry that it read before the deletion.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from collector.sqlite.lock import try_lock

_POLL_S: Final = 0.02


class DeliveryLock:
    """Shared/exclusive lock of the state directory `directory`, which must exist.

    It is an flock on a file, so the system releases it when a process ends. A second file is a
    gate: an exclusive taker locks the gate first, and so is not starved by loops that never pause.
    """

    def __init__(self, directory: Path) -> None:
        self._lock = directory / "delivery.lock"
        self._gate = directory / "delivery.gate"

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        """Hold the shared lock, from reading entries to acknowledging them. Raises OSError."""
        async with AsyncExitStack() as stack:
            async with _locked(self._gate, fcntl.LOCK_SH):
                await stack.enter_async_context(_locked(self._lock, fcntl.LOCK_SH))
            yield

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Hold the exclusive lock: meanwhile no loop delivers an entry. Raises OSError."""
        async with _locked(self._gate, fcntl.LOCK_EX), _locked(self._lock, fcntl.LOCK_EX):
            yield


@asynccontextmanager
async def _locked(path: Path, how: int) -> AsyncIterator[None]:
    """Hold a lock on a file."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not try_lock(handle, how):  # noqa: ASYNC110 - other processes set no event of ours
            # A thread blocked in flock(2) could not be cancelled.
            await asyncio.sleep(_POLL_S)
        yield
    finally:
        os.close(handle)
