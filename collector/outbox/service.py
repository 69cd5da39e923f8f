"""The outbox of a running process: a thread that commits many reports at once."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from collector.outbox.aside import aside_name, replace_damaged, set_aside, suspicion
from collector.outbox.errors import OutboxDamaged, OutboxUnavailable
from collector.outbox.file import OutboxFile
from collector.outbox.jobs import Job, do, entries_of
from collector.outbox.queues import Queue, queue_of
from collector.outbox.rows import Entry, Pending, Stats
from collector.outbox.space import disk, disk_is_short

if TYPE_CHECKING:
    from collector.metrics import Metrics

log = structlog.get_logger("collector.outbox")

_RESERVE_BYTES: Final = 64 << 20
_HOUSEKEEPING_S: Final = 5.0
_SPACE_CHECK_S: Final = 0.05
_SPACE_CHECK_SHARE: Final = 32
"""Free space is checked every `_SPACE_CHECK_S` seconds, or after 1/`_SPACE_CHECK_SHARE` of the
smaller of COLLECTOR_OUTBOX_MAX and the reserve was written."""
_PART_LINES: Final = 500
"""Most lines read at a time, but one entry always fits: about 0.4 ms."""
_ALL: Final = 2**63 - 1
"""Time in ns since 1970 that every entry was received before."""

T = TypeVar("T")


class _Wake(Enum):
    """Makes the outbox's thread act on damage at once, without a job."""

    NOW = "now"


class Outbox:
    """The outbox at `path`, for one process; constructed within a running event loop.

    Refuses reports while the file is larger than `max_bytes` or the disk is nearly full. Retains
    delivered entries for replay for `keep_seconds`, or less when space is short. A file found
    damaged is set aside and replaced by a new one. Raises OutboxUnavailable if the file cannot be
    used.
    """

    def __init__(self, path: Path, *, max_bytes: int, keep_seconds: int, metrics: Metrics) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep_ns = keep_seconds * 10**9
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Job | _Wake | None] = queue.SimpleQueue()
        self.unavailable: str | None = None
        """Reason why reports are refused now, or None. The intake asks before it reads a body."""
        self._damage: str | None = None
        self._carried: list[Pending] = []
        self._swept = 0
        self._file = OutboxFile(path)
        self._read_file = OutboxFile(path)
        self.arrived = {queue: asyncio.Event() for queue in Queue}
        """Events that are set when an entry of a queue is durable; its delivery clears them."""
        self.on_new_file: Callable[[OutboxFile], None] = lambda _file: None
        """Callback for each new file that replaces a damaged one; runs in the outbox's thread,
        within a transaction."""
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="outbox-read")
        self._housekeep()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the outbox's thread runs."""
        return self._thread.is_alive()

    def append(self, *entries: Entry) -> asyncio.Future[None]:
        """Append entries. The future is done once they are on disk, or fails: OutboxUnavailable."""
        return self._submit(Job(self._loop.create_future(), entries))

    def acknowledge(
        self, batch: Sequence[Pending], dead: Sequence[tuple[Pending, bytes, str]] = ()
    ) -> asyncio.Future[None]:
        """Mark a batch from `read` as delivered, all but `dead`: (entry, line, reason) each.

        If a replay was started meanwhile this changes nothing: `read` returns the batch again.
        """
        return self.change(lambda file: file.acknowledge(batch, dead))

    def change(self, work: Callable[[OutboxFile], None]) -> asyncio.Future[None]:
        """Call `work` with the file in a transaction, after all jobs submitted before.

        The future is done once the changes are on disk.
        """
        return self._submit(Job(self._loop.create_future(), work=work))

    async def ask(self, question: Callable[[OutboxFile], T]) -> T:
        """Return the result of `question`, called with a connection for reading only.

        It runs in the reading thread; damage that it finds is handled.
        """
        try:
            # The thread looks the file up: a new file may have replaced it meanwhile.
            return await self._loop.run_in_executor(self._reader, lambda: question(self._read_file))
        except OutboxDamaged as error:
            self._damage = str(error)
            self._jobs.put(_Wake.NOW)
            raise

    async def read(
        self, *, max_lines: int, after: int = 0, queue: Queue = Queue.INFLUX
    ) -> list[Pending]:
        """Return the oldest undelivered entries of a queue after number `after`, in order.

        Together they have at most `max_lines` lines, except that one entry always fits.
        """
        if queue is not Queue.INFLUX:
            # Its batches are small: they are bounded in bytes.
            return await self._part(max_lines, after, queue)
        entries: list[Pending] = []
        lines = 0
        while lines < max_lines:
            # The reading thread competes with reports for the GIL, so it stops after each part.
            part = await self._part(min(_PART_LINES, max_lines - lines), after, queue)
            lines += sum([entry.points for entry in part])
            if not part or (entries and lines > max_lines):
                break
            entries += part
            after = part[-1].id
        return entries

    async def _part(self, max_lines: int, after: int, queue: Queue) -> list[Pending]:
        return await self.ask(lambda file: file.read(max_lines=max_lines, after=after, queue=queue))

    async def stats(self) -> Stats:
        """Return the outbox's statistics."""
        return await self.ask(OutboxFile.stats)

    async def close(self) -> None:
        """Commit all submitted jobs, then close the file."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._reader.shutdown()
        self._read_file.close()
        self._file.close()

    def _submit(self, job: Job) -> asyncio.Future[None]:
        self._jobs.put(job)
        return job.future

    # All methods from here on run in the outbox's thread.

    def _run(self) -> None:
        last_housekeeping = last_check = time.monotonic()
        written, most = 0, min(self._max_bytes, _RESERVE_BYTES) // _SPACE_CHECK_SHARE
        open_ = True
        while open_:
            jobs = self._waiting_jobs()
            open_ = None not in jobs
            if self._damage is not None:
                self._replace_damaged(self._damage)
            written += self._commit([job for job in jobs if isinstance(job, Job)])
            now = time.monotonic()
            due = now - last_housekeeping > _HOUSEKEEPING_S
            if (
                not due
                and self.unavailable is None
                and (now - last_check > _SPACE_CHECK_S or written > most)
            ):
                due, last_check, written = self._space_is_short(), now, 0
            if open_ and due:
                self._housekeep()
                last_housekeeping = time.monotonic()

    def _waiting_jobs(self) -> list[Job | _Wake | None]:
        """Return all submitted jobs; without any, wait a few seconds for the first."""
        jobs: list[Job | _Wake | None] = []
        with contextlib.suppress(queue.Empty):
            jobs.append(self._jobs.get(timeout=_HOUSEKEEPING_S))
            while True:
                jobs.append(self._jobs.get_nowait())
        return jobs

    def _commit(self, jobs: list[Job]) -> int:
        """Do jobs in one commit and return how many bytes of lines were added."""
        if self.unavailable is not None:
            refused = [job for job in jobs if job.work is None]
            self._answer(refused, OutboxUnavailable(self.unavailable))
            jobs = [job for job in jobs if job.work is not None]
        if not jobs:
            return 0
        try:
            self._do(jobs)
        except OutboxUnavailable as error:
            self._metrics.outbox_failures.inc()
            # Later reports are refused without a wait, until `_housekeep` finds the file usable.
            self._block(str(error))
            self._answer(jobs, error)
            return 0
        self._metrics.outbox_commits.inc()
        self._answer(jobs, None)
        return sum([len(entry.lines) for entry in entries_of(jobs)])

    def _do(self, jobs: list[Job]) -> None:
        """Do jobs in one commit; if the file is damaged, once more in a new one."""
        try:
            do(self._file, jobs)
        except OutboxDamaged as error:
            self._replace_damaged(str(error))
            do(self._file, jobs)

    def _replace_damaged(self, why: str) -> bool:
        """Replace the damaged file by a new one; return whether that succeeded.

        If not, reports are refused until a later `_housekeep` succeeds.
        """
        self._damage = why
        try:
            self._reader.submit(self._read_file.close).result()
            # A file that was moved away has been copied whole already.
            if self._file.in_place:
                # Remembered in case this attempt fails: the next cannot read the closed file.
                self._carried = self._file.readable_waiting() or self._carried
            self._file.close()
            replace_damaged(self._path, why, self._carried)
            self._carried = []
            self._file = OutboxFile(self._path)
            with self._file.transaction():
                self.on_new_file(self._file)
            self._read_file = OutboxFile(self._path)
        except OutboxUnavailable as error:
            self._block(str(error))
            return False
        self._damage = None
        self._count_set_aside()
        return True

    def _answer(self, jobs: Sequence[Job], error: OutboxUnavailable | None) -> None:
        targets = () if error else {entry.target for entry in entries_of(jobs)}

        def tell() -> None:
            # A future whose waiter has gone away is cancelled.
            for future in [job.future for job in jobs if not job.future.done()]:
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
            for target in targets:
                self.arrived[queue_of(target)].set()

        self._loop.call_soon_threadsafe(tell)

    def _shortage(self) -> str | None:
        """Return why no further entry has room, or None."""
        if self._file.used() > self._max_bytes:
            return "the outbox has reached COLLECTOR_OUTBOX_MAX"
        return "the disk is full" if disk_is_short(self._path, reserve=_RESERVE_BYTES) else None

    def _space_is_short(self) -> bool:
        """Return whether space is short, or cannot be determined."""
        try:
            return self._shortage() is not None
        except (OutboxUnavailable, OSError):
            return True

    def _housekeep(self) -> None:
        """Delete old entries, set the metrics, and decide whether to accept reports."""
        try:
            if self._damage is not None and not self._replace_damaged(self._damage):
                return
            self._check_file_and_space()
        except OutboxDamaged as error:
            self._replace_damaged(str(error))
        except (OutboxUnavailable, OSError) as error:
            self._block(str(error))

    def _check_file_and_space(self) -> None:
        if not self._file.in_place:
            # The disk frees a deleted file's content as soon as it is closed here.
            self._file.copy_to(aside_name(self._path))
            raise OutboxDamaged("the outbox's file was moved away or replaced")
        if (why := suspicion(self._path)) is not None:
            raise OutboxDamaged(why)
        self._prune()
        self._count_set_aside()
        if self.unavailable is not None:
            self._file.probe()
        self._set_metrics()
        self._block(self._shortage())

    def _prune(self) -> None:
        before = time.time_ns() - self._keep_ns
        while self._file.prune(older_than_ns=_ALL if self._shortage() else before).entries:
            pass
        # Entries are old out of turn after the clock was set, or a dead letter was sent again.
        self._swept = self._file.prune(older_than_ns=before, after=self._swept).next or 0

    def _set_metrics(self) -> None:
        found = self._file.stats()
        now = time.time_ns()
        for target, waiting in found.waiting.items():
            age = (now - (now if waiting.oldest_ns is None else waiting.oldest_ns)) / 1e9
            self._metrics.outbox_reports.labels(target).set(waiting.reports)
            self._metrics.outbox_age_seconds.labels(target).set(max(0.0, age))
        self._metrics.outbox_bytes.set(found.bytes)
        free, size = disk(self._path)
        self._metrics.disk_free_bytes.set(free)
        self._metrics.disk_size_bytes.set(size)
        self._metrics.dead_letters.set(found.dead_letters)

    def _count_set_aside(self) -> None:
        """Set the metric of files that are set aside."""
        # An error while counting is no reason to refuse reports.
        with contextlib.suppress(OSError):
            self._metrics.outboxes_set_aside.set(len(set_aside(self._path.parent)))

    def _block(self, why: str | None) -> None:
        if why != self.unavailable:
            if why is None:
                log.info("outbox accepts reports again")
            else:
                log.error("outbox refuses reports", reason="unavailable", why=why)
        self.unavailable = why
        self._metrics.outbox_accepting.set(why is None)
