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
from enum import Enum
from pathlib import Path
from typing import Final, TypeVar

import structlog

from collector.metrics import Metrics
from collector.outbox.aside import (
    aside_name,
    begin_anew,
    set_aside,
    suspicion,
)
from collector.outbox.errors import OutboxDamaged, OutboxUnavailable
from collector.outbox.file import OutboxFile, disk, disk_is_short
from collector.outbox.rows import Entry, Pending, Stats

log = structlog.get_logger("collector.outbox")

_RESERVE_BYTES: Final = 64 << 20
_HOUSEKEEPING_S: Final = 5.0
_LOOK_S: Final = 0.05
_LOOK_SHARE: Final = 32
"""How often it is seen to that there is room: as often as so much time has gone by, or a so-many-th
of what may be filled, or is held in reserve, was written."""

T = TypeVar("T")


@dataclass(slots=True)
class _Append:
    """Entries to be put behind all others."""

    entries: tuple[Entry, ...]
    future: asyncio.Future[None]


@dataclass(slots=True)
class _Acknowledge:
    """A batch that is delivered, but for `dead`."""

    batch: Sequence[Pending]
    dead: Sequence[tuple[Pending, bytes, str]]
    future: asyncio.Future[None]


@dataclass(slots=True)
class _Change:
    """Work on the file, behind all that was submitted before it."""

    work: Callable[[OutboxFile], None]
    future: asyncio.Future[None]


_Job = _Append | _Acknowledge | _Change


class _Wake(Enum):
    """Has the outbox's thread look after its file at once."""

    NOW = "now"


class Outbox:
    """The outbox at `path`, from construction to `close`; within a running event loop.

    Refuses while it is larger than `max_bytes` or the disk is short; delivered entries are kept
    for `keep_seconds`, less while space is. A file that turns out to be damaged is set aside and a
    new one begun. Raises OutboxUnavailable where the file cannot be used.
    """

    def __init__(self, path: Path, *, max_bytes: int, keep_seconds: int, metrics: Metrics) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep_ns = keep_seconds * 10**9
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | _Wake | None] = queue.SimpleQueue()
        self._unavailable: str | None = None
        self._damage: str | None = None
        self._carried: list[Pending] = []
        self._file = OutboxFile(path)
        self._read_file = OutboxFile(path)
        self.arrived = asyncio.Event()
        """Set when an entry has become durable; delivery clears it."""
        self.begun: Callable[[OutboxFile], None] = lambda _file: None
        """Called in a transaction with a file that takes a damaged one's place; in a thread of the
        outbox's own."""
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="outbox-read")
        self._tidy()
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

    def append(self, *entries: Entry) -> asyncio.Future[None]:
        """Done when they are on disk; raises OutboxUnavailable where they could not be stored."""
        return self._submit(_Append(entries, self._loop.create_future()))

    def acknowledge(
        self, batch: Sequence[Pending], dead: Sequence[tuple[Pending, bytes, str]] = ()
    ) -> asyncio.Future[None]:
        """A batch that `read` gave is delivered, but for `dead`: (entry, line, reason).

        Where it is to be replayed meanwhile, nothing happens: it will come again.
        """
        return self._submit(_Acknowledge(batch, dead, self._loop.create_future()))

    def change(self, work: Callable[[OutboxFile], None]) -> asyncio.Future[None]:
        """Have work done on the file in a transaction, behind all that was submitted before.

        Done when it is on disk.
        """
        return self._submit(_Change(work, self._loop.create_future()))

    async def ask(self, question: Callable[[OutboxFile], T]) -> T:
        """What the file answers, on a connection that changes nothing."""
        # Looked up in the thread, as in `read`.
        return await self._read(lambda: question(self._read_file))

    async def read(self, *, max_lines: int, after: int = 0) -> list[Pending]:
        """The oldest undelivered entries, in order, of at most `max_lines` lines, at least one.

        Of those behind number `after` where that is given.
        """
        # Looked up in the thread: meanwhile a new file may have been begun.
        return await self._read(lambda: self._read_file.read(max_lines=max_lines, after=after))

    async def stats(self) -> Stats:
        """Its size."""
        # Looked up in the thread, as in `read`.
        return await self._read(lambda: self._read_file.stats())  # noqa: PLW0108 - see above

    async def _read(self, work: Callable[[], T]) -> T:
        """The result of `work` in the thread that reads; damage that it meets is seen to."""
        try:
            return await self._loop.run_in_executor(self._reader, work)
        except OutboxDamaged as error:
            self._damage = str(error)
            self._jobs.put(_Wake.NOW)
            raise

    async def close(self) -> None:
        """Commit what waits, then close."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._reader.shutdown()
        self._read_file.close()
        self._file.close()

    def _submit(self, job: _Job) -> asyncio.Future[None]:
        self._jobs.put(job)
        return job.future

    # From here on: the outbox's own thread.

    def _run(self) -> None:
        tidied = looked = time.monotonic()
        written, most = 0, min(self._max_bytes, _RESERVE_BYTES) // _LOOK_SHARE
        open_ = True
        while open_:
            jobs = self._waiting_jobs()
            open_ = None not in jobs
            if self._damage is not None:
                self._begin_anew(self._damage)
            written += self._commit([job for job in jobs if isinstance(job, _Job)])
            now = time.monotonic()
            due = now - tidied > _HOUSEKEEPING_S
            if not due and self._unavailable is None and (now - looked > _LOOK_S or written > most):
                due, looked, written = self._must_look(), now, 0
            if open_ and due:
                self._tidy()
                tidied = time.monotonic()

    def _waiting_jobs(self) -> list[_Job | _Wake | None]:
        """All that waits; where nothing does, what comes first within a few seconds."""
        jobs: list[_Job | _Wake | None] = []
        with contextlib.suppress(queue.Empty):
            jobs.append(self._jobs.get(timeout=_HOUSEKEEPING_S))
            while True:
                jobs.append(self._jobs.get_nowait())
        return jobs

    def _commit(self, jobs: list[_Job]) -> int:
        """Do them; how many bytes of lines were added."""
        if self._unavailable is not None:
            refused = [job for job in jobs if isinstance(job, _Append)]
            self._answer(refused, OutboxUnavailable(self._unavailable))
            jobs = [job for job in jobs if not isinstance(job, _Append)]
        if not jobs:
            return 0
        try:
            self._do(jobs)
        except OutboxUnavailable as error:
            self._metrics.outbox_failures.inc()
            # The next senders are spared the wait for the same; `_tidy` tries again.
            self._block(str(error))
            self._answer(jobs, error)
            return 0
        self._metrics.outbox_commits.inc()
        self._answer(jobs, None)
        return sum([len(entry.lines) for entry in _entries(jobs)])

    def _do(self, jobs: list[_Job]) -> None:
        """In one commit; once more in a new file where the one in use is damaged."""
        try:
            self._do_in(self._file, jobs)
        except OutboxDamaged as error:
            self._begin_anew(str(error))
            self._do_in(self._file, jobs)

    def _do_in(self, file: OutboxFile, jobs: list[_Job]) -> None:
        if any(isinstance(job, _Change) for job in jobs):
            self._do_in_order(file, jobs)
            return
        acknowledged = [job for job in jobs if isinstance(job, _Acknowledge)]
        entries = _entries(jobs)
        if not acknowledged:
            file.append(*entries)
            return
        with file.transaction():
            for job in acknowledged:
                file.acknowledge(job.batch, job.dead)
            file.insert(*entries)

    @staticmethod
    def _do_in_order(file: OutboxFile, jobs: list[_Job]) -> None:
        with file.transaction():
            for job in jobs:
                match job:
                    case _Append(entries):
                        file.insert(*entries)
                    case _Acknowledge(batch, dead):
                        file.acknowledge(batch, dead)
                    case _Change(work):
                        work(file)

    def _begin_anew(self, why: str) -> bool:
        """Go on with a new file; where that cannot be done now, nothing can until `_tidy` has."""
        self._damage = why
        try:
            self._reader.submit(self._read_file.close).result()
            # A file that was moved away was copied whole beside the others.
            if self._file.in_place:
                # Kept for the next attempt where this one fails: the closed file tells nothing.
                self._carried = self._file.readable_waiting() or self._carried
            self._file.close()
            begin_anew(self._path, why, self._carried)
            self._carried = []
            self._file = OutboxFile(self._path)
            with self._file.transaction():
                self.begun(self._file)
            self._read_file = OutboxFile(self._path)
        except OutboxUnavailable as error:
            self._block(str(error))
            return False
        self._damage = None
        self._see_to_set_aside()
        return True

    def _answer(self, jobs: Sequence[_Job], error: OutboxUnavailable | None) -> None:
        def tell() -> None:
            # A future is done already where its waiter has gone away.
            for future in [job.future for job in jobs if not job.future.done()]:
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
            if error is None and any(isinstance(job, _Append) for job in jobs):
                self.arrived.set()

        self._loop.call_soon_threadsafe(tell)

    def _crowded(self) -> bool:
        return self._file.used() > self._max_bytes or disk_is_short(
            self._path, reserve=_RESERVE_BYTES
        )

    def _must_look(self) -> bool:
        """Whether there may be no room for more, or worse."""
        try:
            return self._crowded()
        except (OutboxUnavailable, OSError):
            return True

    def _tidy(self) -> None:
        """Drop what is old, measure, and decide whether there is room for more."""
        try:
            if self._damage is not None and not self._begin_anew(self._damage):
                return
            self._look()
        except OutboxDamaged as error:
            self._begin_anew(str(error))
        except (OutboxUnavailable, OSError) as error:
            self._block(str(error))

    def _look(self) -> None:
        if not self._file.in_place:
            # What it holds is on the disk as long as it is open here, and no longer.
            self._file.copy_to(aside_name(self._path))
            raise OutboxDamaged("the outbox's file was moved away or replaced")
        if (why := suspicion(self._path)) is not None:
            raise OutboxDamaged(why)
        self._prune()
        self._see_to_set_aside()
        if self._unavailable is not None:
            self._file.probe()
        self._measure()
        if self._file.used() > self._max_bytes:
            self._block("the outbox has reached COLLECTOR_OUTBOX_MAX")
        elif disk_is_short(self._path, reserve=_RESERVE_BYTES):
            self._block("the disk is full")
        else:
            self._block(None)

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

    def _see_to_set_aside(self) -> None:
        """Count what was set aside."""
        # No reason to refuse reports, whatever comes between.
        with contextlib.suppress(OSError):
            self._metrics.outboxes_set_aside.set(len(set_aside(self._path.parent)))

    def _block(self, why: str | None) -> None:
        if why != self._unavailable:
            if why is None:
                log.info("outbox accepts reports again")
            else:
                log.error("outbox refuses reports", reason="unavailable", why=why)
        self._unavailable = why
        self._metrics.outbox_accepting.set(why is None)


def _entries(jobs: Sequence[_Job]) -> list[Entry]:
    """The entries that jobs append, in order."""
    return [entry for job in jobs if isinstance(job, _Append) for entry in job.entries]
