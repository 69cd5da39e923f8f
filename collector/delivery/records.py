"""The records store as a delivery target."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from collector.delivery.target import Blocked, Dead
from collector.metrics import Metrics
from collector.outbox import Pending, Queue
from collector.records.errors import RecordsDenied, RecordsError, RecordsRejected
from collector.records.record import Record, from_line
from collector.records.store import Finding, RecordsStore


class _Row(NamedTuple):
    """An entry, its record, and the finding of its payload."""

    entry: Pending
    record: Record
    found: Finding | None


class _Packed(NamedTuple):
    """Rows to be stored, and lines that are not records."""

    rows: list[_Row]
    dead: list[Dead]


@dataclass(eq=False)
class RecordsTarget:
    """Stores entries as records, each once, because a record's stamp is its key.

    `find` returns the finding of a record, or None.
    """

    records: RecordsStore
    metrics: Metrics
    find: Callable[[Record], Finding | None] = lambda _record: None
    _prepared: bool = field(default=False, init=False)
    _thread: Executor = field(
        default_factory=partial(ThreadPoolExecutor, 1, "records-write"), init=False
    )

    async def prepare(self) -> None:
        """Migrate the tables to the newest version; after a failure, check that the store answers.

        Raises Blocked.
        """
        if self._prepared:
            return
        try:
            await self._run(self.records.prepare)
        except RecordsError as error:
            raise _blocked(error, sent=False) from error
        self._prepared = True

    async def pack(self, entries: Sequence[Pending]) -> _Packed:
        """Read the records of entries, and parse their payloads."""
        return await asyncio.to_thread(self._packed, entries)

    def _packed(self, entries: Sequence[Pending]) -> _Packed:
        packed = _Packed([], [])
        for entry in entries:
            try:
                record = from_line(entry.lines)
            except ValueError as error:
                packed.dead.append(Dead(entry, entry.lines, str(error)))
            else:
                packed.rows.append(_Row(entry, record, self.find(record)))
        return packed

    async def store(self, packed: _Packed) -> Sequence[Dead]:
        """Store records; return the lines that the store refuses for good. Raises Blocked."""
        return [*packed.dead, *await self._stored(packed.rows)]

    async def _stored(self, rows: list[_Row]) -> list[Dead]:
        """Store rows in one transaction; if the store refuses them, in ever smaller halves."""
        if not rows:
            return []
        begun = time.perf_counter()
        found = [row.found for row in rows if row.found is not None]
        try:
            await self._run(lambda: self.records.add([row.record for row in rows], found))
        except RecordsRejected as error:
            self._count("rejected", begun)
            if len(rows) == 1:
                return [Dead(rows[0].entry, rows[0].entry.lines, str(error))]
        except RecordsError as error:
            self._count("denied" if isinstance(error, RecordsDenied) else "unavailable", begun)
            self._prepared = False
            raise _blocked(error) from error
        else:
            self._count("written", begun)
            return []
        middle = len(rows) // 2
        return [*await self._stored(rows[:middle]), *await self._stored(rows[middle:])]

    def _count(self, outcome: str, begun: float) -> None:
        self.metrics.writer_seconds.labels(Queue.RECORDS).observe(time.perf_counter() - begun)
        self.metrics.writer_requests.labels(Queue.RECORDS, outcome).inc()

    async def _run(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _blocked(error: RecordsError, *, sent: bool = True) -> Blocked:
    reason = "denied" if isinstance(error, RecordsDenied) else "unavailable"
    return Blocked(reason, str(error), sent=sent)
