"""Delivers, expires and then deletes outboxes of workers that no longer exist.

Such an outbox is left when the number of workers is lowered.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from collector.delivery.loop import deliveries, stop_all
from collector.delivery.target import TargetsOf
from collector.metrics import Metrics
from collector.outbox import FILE, OutboxFile, Queue, check_at_start
from collector.outbox.delivering import DeliveryLock
from collector.parts import outbox_of
from collector.settings import Settings
from collector.state import is_about_directory, locked

log = structlog.get_logger("collector.abandoned")

_DRAIN_LOOK_S: Final = 1.0
_LOOK_S: Final = 5.0


@dataclass(slots=True, eq=False)
class Abandoned:
    """Finishes abandoned outboxes: delivers them to `targets`. `lock` is the delivery lock."""

    settings: Settings
    targets: TargetsOf
    lock: DeliveryLock

    async def finish(self, directory: Path) -> None:
        """Deliver the entries in a directory, wait until their retention is over, then delete it.

        Raises StateError, OutboxUnavailable, OSError.
        """
        with locked(directory):
            while True:
                metrics = Metrics()
                await asyncio.to_thread(check_at_start, directory / FILE, metrics)
                if await asyncio.to_thread(_waiting, directory / FILE):
                    await self._drain(directory, metrics)
                if await asyncio.to_thread(self._is_over, directory):
                    await asyncio.to_thread(_delete, directory)
                    return
                await asyncio.sleep(_LOOK_S)

    async def _drain(self, directory: Path, metrics: Metrics) -> None:
        async with outbox_of(self.settings, directory, metrics) as outbox:
            waiting = (await outbox.stats()).waiting
            targets = self.targets(metrics, records=waiting[Queue.RECORDS].reports > 0)
            loops = deliveries(outbox, targets, metrics, self.lock)
            writing = [
                asyncio.create_task(loop.run(), name="delivery of a former worker")
                for loop in loops
            ]
            try:
                while left := (await outbox.stats()).reports:
                    log.info("delivering the reports of a former worker", reports=left)
                    await asyncio.sleep(_DRAIN_LOOK_S)
                    for task in writing:
                        if task.done():
                            # Re-raises the error that ended the delivery.
                            task.result()
            finally:
                stop_all(loops)
                await asyncio.gather(*writing, return_exceptions=True)

    def _is_over(self, directory: Path) -> bool:
        """Delete entries older than COLLECTOR_OUTBOX_KEEP; return whether nothing is left."""
        with OutboxFile(directory / FILE) as file:
            before = time.time_ns() - self.settings.outbox_keep * 10**9
            after: int | None = 0
            while after is not None:
                after = file.prune(older_than_ns=before, after=after).next
            empty = file.oldest_ns() is None and not file.stats().dead_letters
        # An outbox that was set aside or recovered has a suffix.
        return empty and not list(directory.glob(f"{FILE}.*"))


def _waiting(path: Path) -> bool:
    with OutboxFile(path) as file:
        return file.stats().reports > 0


def _delete(directory: Path) -> None:
    """Delete a worker's files and its directory. Raises OSError if the directory has others."""
    for path in directory.iterdir():
        if is_about_directory(path) or path.name.startswith(FILE):
            path.unlink()
    directory.rmdir()
    log.info("a former worker's outbox is empty and deleted", outbox=directory.name)
