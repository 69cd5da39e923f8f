"""The outbox of a running process: a thread of its own, one commit for many reports."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import structlog

from collector.metrics import Metrics
from collector.outbox.errors import OutboxUnavailable
from collector.outbox.file import (
    Entry,
    OutboxFile,
    Pending,
    disk,
    disk_is_short,
)

log = structlog.get_logger("collector.outbox")

_RESERVE_BYTES: Final = 64 << 20
_HOUSEKEEPING_S: Final = 5.0

T = TypeVar("T")


@dataclass(slots=True)
class _Job:
    work: Callable[[OutboxFile], None]
    future: asyncio.Future[None]
    appends: bool


class Outbox:
    """The outbox at `path`, from construction to `close`; within a running event loop.

    Refuses while it is larger than `max_bytes` or the disk is short; delivered entries are kept
    for `keep_seconds`, less while space is. Raises OutboxUnavailable where the file cannot be used.
    """

    def __init__(self, path: Path, *, max_bytes: int, keep_seconds: int, metrics: Metrics) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep_ns = keep_seconds * 10**9
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._unavailable: str | None = None
        self._file = OutboxFile(path)
        self._read_file = OutboxFile(path)
        self.arrived = asyncio.Event()
        """Set when an entry has become durable; the writer clears it."""
        self._tidy()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="outbox-read")
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    @property
    def unavailable(self) -> str | None:
        """Why nothing can be stored now, or None. Known before a body is read."""
        return self._unavailable

    @property
    def alive(self) -> bool:
        """Whether the outbox's thread runs."""
        return self._thread.is_alive()

    def append(self, entry: Entry) -> asyncio.Future[None]:
        """Done when the entry is on disk; raises OutboxUnavailable where it could not be stored."""
        return self._submit(lambda file: file.insert(entry), appends=True)

    def acknowledge(
        self, last_id: int, dead: Sequence[tuple[Pending, bytes, str]] = ()
    ) -> asyncio.Future[None]:
        """Everything up to `last_id` is delivered, but for `dead`: (entry, line, reason)."""
        return self._submit(lambda file: file.acknowledge(last_id, dead), appends=False)

    async def read(self, *, max_lines: int) -> list[Pending]:
        """The oldest undelivered entries, in order, of at most `max_lines` lines, at least one."""
        return await self._loop.run_in_executor(
            self._reader, lambda: self._read_file.read(max_lines=max_lines)
        )

    async def ask(self, question: Callable[[OutboxFile], T]) -> T:
        """What the file answers, on a connection that changes nothing."""
        return await self._loop.run_in_executor(self._reader, question, self._read_file)

    async def change(self, work: Callable[[OutboxFile], T]) -> T:
        """What `work` returned, when all that it did is on disk."""
        returned: list[T] = []
        await self._submit(lambda file: returned.append(work(file)), appends=False)
        return returned[-1]

    async def scrub(self, *traces: bytes) -> bool:
        """Leave nothing of deleted rows on the disk; whether none of these byte strings is there.

        While it lasts, what is appended waits.
        """

        def work() -> bool:
            with OutboxFile(self._path) as file:
                return file.scrub(traces)

        return await asyncio.to_thread(work)

    async def close(self) -> None:
        """Commit what waits, then close."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._reader.shutdown()
        self._read_file.close()
        self._file.close()

    def _submit(self, work: Callable[[OutboxFile], None], *, appends: bool) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put(_Job(work, future, appends))
        return future

    # From here on: the outbox's own thread.

    def _run(self) -> None:
        tidied = time.monotonic()
        open_ = True
        while open_:
            jobs = self._waiting_jobs()
            open_ = None not in jobs
            self._commit([job for job in jobs if job is not None])
            due = time.monotonic() - tidied > _HOUSEKEEPING_S
            if open_ and (due or (self._unavailable is None and self._crowded())):
                self._tidy()
                tidied = time.monotonic()

    def _waiting_jobs(self) -> list[_Job | None]:
        """All that waits; where nothing does, what comes first within a few seconds."""
        jobs: list[_Job | None] = []
        with contextlib.suppress(queue.Empty):
            jobs.append(self._jobs.get(timeout=_HOUSEKEEPING_S))
            while True:
                jobs.append(self._jobs.get_nowait())
        return jobs

    def _commit(self, jobs: list[_Job]) -> None:
        if self._unavailable is not None:
            refused = [job for job in jobs if job.appends]
            self._answer(refused, OutboxUnavailable(self._unavailable))
            jobs = [job for job in jobs if not job.appends]
        if not jobs:
            return
        try:
            with self._file.transaction():
                for job in jobs:
                    job.work(self._file)
        except OutboxUnavailable as error:
            self._metrics.outbox_failures.inc()
            # The next senders are spared the wait for the same; `_tidy` tries again.
            self._block(str(error))
            self._answer(jobs, error)
        else:
            self._metrics.outbox_commits.inc()
            self._answer(jobs, None)

    def _answer(self, jobs: list[_Job], error: OutboxUnavailable | None) -> None:
        def tell() -> None:
            # A future is done already where its waiter has gone away.
            for future in [job.future for job in jobs if not job.future.done()]:
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
            if error is None and any(job.appends for job in jobs):
                self.arrived.set()

        self._loop.call_soon_threadsafe(tell)

    def _crowded(self) -> bool:
        return self._file.used() > self._max_bytes or disk_is_short(
            self._path, reserve=_RESERVE_BYTES
        )

    def _tidy(self) -> None:
        """Drop what is old, measure, and decide whether there is room for more."""
        try:
            self._prune()
            if self._unavailable is not None:
                self._file.probe()
            self._measure()
            if self._file.used() > self._max_bytes:
                self._block("the outbox has reached COLLECTOR_OUTBOX_MAX")
            elif disk_is_short(self._path, reserve=_RESERVE_BYTES):
                self._block("the disk is full")
            else:
                self._block(None)
        except (OutboxUnavailable, OSError) as error:
            self._block(str(error))

    def _prune(self) -> None:
        now = time.time_ns()
        while self._file.prune(older_than_ns=now if self._crowded() else now - self._keep_ns):
            pass

    def _measure(self) -> None:
        found = self._file.stats()
        age = (time.time_ns() - found.oldest_ns) / 1e9 if found.oldest_ns is not None else 0.0
        self._metrics.outbox_reports.set(found.reports)
        self._metrics.outbox_age_seconds.set(max(0.0, age))
        self._metrics.outbox_bytes.set(found.bytes)
        free, size = disk(self._path)
        self._metrics.disk_free_bytes.set(free)
        self._metrics.disk_size_bytes.set(size)
        self._metrics.dead_letters.set(found.dead_letters)

    def _block(self, why: str | None) -> None:
        if why != self._unavailable:
            if why is None:
                log.info("outbox accepts reports again")
            else:
                log.error("outbox refuses reports", reason="unavailable", why=why)
        self._unavailable = why
        self._metrics.outbox_accepting.set(why is None)
