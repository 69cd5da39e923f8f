"""Deletes records that are older than their retention."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog

from collector.metrics import Metrics
from collector.records.errors import RecordsError
from collector.records.store import RecordsStore

log = structlog.get_logger("collector.records")

_PAUSE_S: Final = 3600.0
_AGAIN_S: Final = 60.0


class Purge:
    """Deletes records older than `retention_s` seconds (0: none), every hour, in one process."""

    def __init__(self, store: RecordsStore, metrics: Metrics, *, retention_s: int) -> None:
        self._store = store
        self._metrics = metrics
        self._retention_s = retention_s

    async def run(self) -> None:
        """Purge until cancelled."""
        while True:
            try:
                # In small steps: a thread cannot be cancelled, and a stop waits for it.
                while await asyncio.to_thread(self.step, time.time_ns()):
                    pass
            except RecordsError as error:
                log.warning("old records could not be deleted", reason="records", why=str(error))
                await asyncio.sleep(_AGAIN_S)
            else:
                await asyncio.sleep(_PAUSE_S)

    def step(self, now_ns: int) -> int:
        """Delete some records expired at `now_ns`; return how many. Blocks. Raises RecordsError."""
        # Delivery may not have created the tables yet.
        self._store.prepare()
        if not self._retention_s:
            return 0
        purged = self._store.purge(before_ns=now_ns - self._retention_s * 10**9)
        self._metrics.records_purged.inc(purged)
        if purged:
            log.info("old records are deleted", records=purged)
        return purged
