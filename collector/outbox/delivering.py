"""A lock between the loops that deliver entries and whoever deletes entries.

Every process of a state directory takes it, and every command. Loops share it; who deletes has it
alone: else an entry that a loop has in hand would come back after it was deleted.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

_POLL_S: Final = 0.02


class DeliveryLock:
    """The lock of the state directory `directory`, which must exist when it is taken.

    A file (flock) holds it, so that a process that ends gives it back. A second file is the gate:
    who wants it alone closes the gate first, and so does not wait for loops that never pause.
    """

    def __init__(self, directory: Path) -> None:
        self._lock = directory / "delivery.lock"
        self._gate = directory / "delivery.gate"

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        """Held by a loop while it has entries in hand. OSError where a file cannot be made."""
        gate = await _taken(self._gate, fcntl.LOCK_SH)
        try:
            lock = await _taken(self._lock, fcntl.LOCK_SH)
        finally:
            os.close(gate)
        try:
            yield
        finally:
            os.close(lock)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """While it lasts no loop has an entry in hand. OSError where a file cannot be made."""
        gate = await _taken(self._gate, fcntl.LOCK_EX)
        try:
            lock = await _taken(self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                os.close(lock)
        finally:
            os.close(gate)


async def _taken(path: Path, how: int) -> int:
    """A handle of a file with the lock; closing it gives the lock back."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, how | fcntl.LOCK_NB)
            except BlockingIOError:
                # A thread that waits in flock(2) could not be called back.
                await asyncio.sleep(_POLL_S)
            else:
                return handle
    except BaseException:
        os.close(handle)
        raise
