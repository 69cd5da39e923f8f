"""The delivery loop: sends entries of one outbox to one target, with retries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple

import structlog

from collector.delivery.progress import Progress, pause_s
from collector.delivery.target import Blocked, Packed, Target
from collector.metrics import Metrics
from collector.outbox import Outbox, OutboxUnavailable, Pending, Queue
from collector.outbox.delivering import DeliveryLock
from collector.supervisor import any_of, wait_at_most

if TYPE_CHECKING:
    from collector.delivery.writing import Writing

log = structlog.get_logger("collector.delivery")

_BATCH_LINES: Final = 5000
_SMALL_BATCH_PAUSE_S: Final = 0.25
"""Pause after a small batch. Packing a batch competes with the intake for the GIL; small and
regular is better."""
_LOOK_S: Final = 1.0
_CLOCK_S: Final = 0.2
_MOST_IN_A_ROW: Final = 16
"""Most batches delivered under one hold of the lock; bounds the wait of an erasure."""
_NOTED_AHEAD: Final = 1000
"""Entries recorded as sent in advance: one commit for so many, instead of one for each batch."""
_BACKOFF_MOST_S: Final = 30.0
_DRAIN_S: Final = 10.0


class _Batch(NamedTuple, Generic[Packed]):
    """Entries to be sent, their packed form, and their number of lines."""

    entries: list[Pending]
    packed: Packed
    lines: int

    @property
    def is_large(self) -> bool:
        """Whether the batch is so large that more entries probably wait after it."""
        return self.lines >= _BATCH_LINES // 2


@dataclass(eq=False)
class Delivery(Generic[Packed]):
    """Delivers a queue of an outbox to its target; holds `lock` from reading a batch to its end.

    Nothing is delivered while `holds` returns a reason. `sent_id` is the highest number of an entry
    that an earlier process may have sent.
    """

    outbox: Outbox
    target: Target[Packed]
    metrics: Metrics
    lock: DeliveryLock
    _: KW_ONLY
    queue: Queue = Queue.INFLUX
    holds: Callable[[], str | None] = lambda: None
    sent_id: int = 0
    """Highest number of an entry that may have been sent, whether or not it was stored."""

    def __post_init__(self) -> None:
        self.name = "delivery" if self.queue is Queue.INFLUX else f"delivery-{self.queue}"
        self._arrived = self.outbox.arrived[self.queue]
        self._noted_id = self.sent_id
        self._stopping = asyncio.Event()
        self._deadline = float("inf")
        self._limit: asyncio.Timeout | None = None
        reasons = ("denied", "unavailable", "full", "outbox", "clock")
        self._progress = Progress(self.metrics, self.queue, *reasons)

    async def run(self) -> None:
        """Deliver until `stop` is called, then drain the outbox for at most 10 s."""
        try:
            async with asyncio.timeout(None) as self._limit:
                await self._run()
        except TimeoutError:
            log.warning(
                "stopped while a target was silent; the outbox keeps what is left",
                target=self.queue,
            )
        finally:
            self._limit = None

    async def _run(self) -> None:
        attempt = 0
        while time.monotonic() < self._deadline:
            try:
                self._wait_for_clock()
                await self.target.prepare()
                delivered = await self._deliver()
            except Blocked as obstacle:
                attempt += 1
                self._progress.blocked(obstacle.reason, str(obstacle))
                if self._stopping.is_set() and (
                    obstacle.reason == "clock" or not await self._has_entries()
                ):
                    return
                await self._pause(pause_s(attempt, obstacle.retry_after, most_s=_BACKOFF_MOST_S))
                continue
            attempt = 0
            self._progress.made()
            if not delivered:
                if self._stopping.is_set():
                    return
                # At most 1 s: entries of another process set no event here.
                await any_of(self._arrived, self._stopping, at_most_s=_LOOK_S)

    def stop(self) -> None:
        """Make `run` deliver the rest and return; further calls change nothing."""
        if self._stopping.is_set():
            return
        self._deadline = time.monotonic() + _DRAIN_S
        self._stopping.set()
        if self._limit is not None:
            # A request without a reply must not delay the stop.
            self._limit.reschedule(asyncio.get_running_loop().time() + _DRAIN_S)

    async def _has_entries(self) -> bool:
        """Return whether entries wait, or the outbox does not say."""
        try:
            return bool(await self.outbox.read(max_lines=1, queue=self.queue))
        except (OutboxUnavailable, OSError):
            return True

    def _wait_for_clock(self) -> None:
        """Raise Blocked while the clock is wrong."""
        if (why := self.holds()) is not None:
            raise Blocked("clock", why, _CLOCK_S)

    async def _deliver(self) -> bool:
        """Deliver some batches; return False if there are none. Raises Blocked."""
        self._arrived.clear()
        try:
            async with self.lock.delivering():
                last = await self._deliver_in_turn()
        except (OutboxUnavailable, OSError) as error:
            raise Blocked("outbox", str(error)) from error
        if last is None:
            return False
        # More entries may wait after a large batch: it ends where the next would not fit.
        if not last.is_large:
            await self._pause(_SMALL_BATCH_PAUSE_S)
        return True

    async def _deliver_in_turn(self) -> _Batch[Packed] | None:
        """Deliver batches as long as they are large; return the last one, None if there is none.

        The next batch is packed while the target stores one.
        """
        batch, last = await self._batch(after=0), None
        under_way: list[asyncio.Future[None]] = []
        following = None
        try:
            for turn in range(_MOST_IN_A_ROW):
                if batch is None:
                    break
                following = None
                if batch.is_large and turn + 1 < _MOST_IN_A_ROW:
                    following = asyncio.create_task(self._batch(after=batch.entries[-1].id))
                under_way.append(await self._store(batch))
                last, batch = batch, None if following is None else await following
        finally:
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
            # The outbox acknowledges batches in order, while later ones are sent.
            for acknowledged in under_way:
                await acknowledged
        return last

    async def _batch(self, *, after: int) -> _Batch[Packed] | None:
        """Read and pack the next batch after number `after`; None if there are no entries."""
        entries = await self.outbox.read(max_lines=_BATCH_LINES, after=after, queue=self.queue)
        if not entries:
            return None
        packed = await self.target.pack(entries)
        return _Batch(entries, packed, sum([entry.points for entry in entries]))

    async def _store(self, batch: _Batch[Packed]) -> asyncio.Future[None]:
        """Store a batch. The future is done when the outbox has acknowledged it. Raises Blocked."""
        last = batch.entries[-1].id
        if last > self._noted_id:
            await self._note_sent(last + _NOTED_AHEAD)
        try:
            dead = await self.target.store(batch.packed)
        except Blocked as obstacle:
            if obstacle.sent:
                self.sent_id = max(self.sent_id, last)
            else:
                await self._note_sent(self.sent_id)
            raise
        self.sent_id = max(self.sent_id, last)
        acknowledged = self.outbox.acknowledge(batch.entries, dead)
        self.metrics.writer_lines.labels(self.queue, "written").inc(batch.lines - len(dead))
        if dead:
            self.metrics.writer_lines.labels(self.queue, "dead-letter").inc(len(dead))
            self._progress.set_aside(len(dead), dead[0].reason)
        self._progress.made()
        return acknowledged

    async def _note_sent(self, number: int) -> None:
        """Record in the outbox that entries up to a number may be sent."""
        await self.outbox.change(lambda file: file.dating.note_sent(self.queue, number))
        self._noted_id = number

    async def _pause(self, seconds: float) -> None:
        """Sleep until the time is over or `stop` is called; only briefly while draining."""
        if self._stopping.is_set():
            await asyncio.sleep(min(seconds, 0.2, max(0.0, self._deadline - time.monotonic())))
            return
        await wait_at_most(seconds, self._stopping)


def deliveries(
    outbox: Outbox,
    targets: Mapping[Queue, Target[Any]],
    metrics: Metrics,
    lock: DeliveryLock,
    *,
    holds: Callable[[], str | None] = lambda: None,
    sent: Mapping[Queue, int] = MappingProxyType({}),
) -> list[Delivery[Any]]:
    """Return the delivery loops of an outbox, one a target; each waits and retries independently.

    `lock` and `holds` are as in `Delivery`; `sent` are the highest numbers, by queue, that an
    earlier process may have sent.
    """
    return [
        Delivery(
            outbox, target, metrics, lock, queue=queue, holds=holds, sent_id=sent.get(queue, 0)
        )
        for queue, target in targets.items()
    ]


def stop_all(loops: Iterable[Delivery[Any] | Writing[Any]]) -> None:
    """Make loops handle what they have in hand and return, all at the same time."""
    for one in loops:
        one.stop()
