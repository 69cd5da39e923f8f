"""The loop that carries entries from one outbox to one target until all are delivered."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable
from typing import Final, Generic, NamedTuple

import structlog

from collector.delivery.target import Blocked, Packed, Target
from collector.metrics import Metrics
from collector.outbox import Outbox, OutboxUnavailable, Pending
from collector.outbox.delivering import DeliveryLock

log = structlog.get_logger("collector.delivery")

_BATCH_LINES: Final = 5000
_SMALL_BATCH_PAUSE_S: Final = 0.25
"""Pause after a small batch. Packing a batch competes with the intake for the interpreter; small
and regular is better."""
_LOOK_S: Final = 1.0
_CLOCK_S: Final = 0.2
_MOST_IN_A_ROW: Final = 16
"""Batches delivered before the lock is given back, so that an erasure need not wait longer."""
_NOTED_AHEAD: Final = 1000
"""Entries noted as sent before they are: one commit for so many, instead of one a batch."""
_BACKOFF_FIRST_S: Final = 0.2
_BACKOFF_MOST_S: Final = 30.0
_DRAIN_S: Final = 10.0
_PSEUDONYM: Final = re.compile(r"[0-9a-f]{16}")


class _Batch(NamedTuple, Generic[Packed]):
    """Entries on their way, in the form in which they are sent, and the number of their lines."""

    entries: list[Pending]
    packed: Packed
    lines: int

    @property
    def is_large(self) -> bool:
        """Whether more entries may wait behind it."""
        return self.lines >= _BATCH_LINES // 2


def backoff(attempt: int, jitter: float) -> float:
    """Seconds to wait after failure number `attempt` (from 1); `jitter` is in 0..1.

    Doubles from 0.2 s to at most 30 s, of which half is left to chance.
    """
    full = min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2.0 ** min(attempt - 1, 10))
    return full * (0.5 + 0.5 * jitter)


def _without_pseudonyms(words: str) -> str:
    """A target's words for the log: they may repeat a line, with pseudonyms in it."""
    return _PSEUDONYM.sub("(pseudonym)", words)


class Delivery(Generic[Packed]):
    """Delivers one outbox to one target. `lock` is held while entries are in hand.

    Nothing is delivered while `holds` gives a reason. `sent_id` is the number up to which an
    earlier process may have sent entries.
    """

    def __init__(
        self,
        outbox: Outbox,
        target: Target[Packed],
        metrics: Metrics,
        lock: DeliveryLock,
        *,
        holds: Callable[[], str | None] = lambda: None,
        sent_id: int = 0,
    ) -> None:
        self._outbox = outbox
        self._target = target
        self._metrics = metrics
        self._lock = lock
        self._holds = holds
        self.sent_id = sent_id
        """The number up to which entries may have been sent, whether or not they were stored."""
        self._noted_id = sent_id
        self._stopping = asyncio.Event()
        self._deadline = float("inf")
        self._limit: asyncio.Timeout | None = None
        self._blocked: str | None = None
        for reason in ("denied", "unavailable", "outbox", "clock"):
            metrics.writer_blocked.labels(reason).set(0)

    async def run(self) -> None:
        """Deliver until `stop`, then the rest for at most 10 s."""
        try:
            async with asyncio.timeout(None) as self._limit:
                await self._run()
        except TimeoutError:
            log.warning("stopped while InfluxDB was silent; the outbox keeps what is left")
        finally:
            self._limit = None

    async def _run(self) -> None:
        attempt = 0
        while time.monotonic() < self._deadline:
            try:
                self._wait_for_clock()
                await self._target.prepare()
                delivered = await self._deliver()
            except Blocked as obstacle:
                attempt += 1
                self._block(obstacle.reason, str(obstacle))
                if self._stopping.is_set() and obstacle.reason == "clock":
                    return
                wait = obstacle.retry_after or backoff(attempt, random.random())  # noqa: S311 - jitter is no secret
                await self._pause(min(wait, _BACKOFF_MOST_S))
                continue
            attempt = 0
            self._unblock()
            if not delivered:
                if self._stopping.is_set():
                    return
                await self._next_arrival()

    def stop(self) -> None:
        """Ask `run` to deliver the rest and return."""
        self._deadline = time.monotonic() + _DRAIN_S
        self._stopping.set()
        if self._limit is not None:
            # A request that the target leaves without an answer must not hold the stop up.
            self._limit.reschedule(asyncio.get_running_loop().time() + _DRAIN_S)

    def _wait_for_clock(self) -> None:
        """Raises Blocked while the clock is wrong."""
        if (why := self._holds()) is not None:
            raise Blocked("clock", why, _CLOCK_S)

    async def _deliver(self) -> bool:
        """Deliver some batches; False where there is nothing to deliver. Raises Blocked."""
        self._outbox.arrived.clear()
        try:
            async with self._lock.delivering():
                last = await self._deliver_in_turn()
        except (OutboxUnavailable, OSError) as error:
            raise Blocked("outbox", str(error)) from error
        if last is None:
            return False
        # A batch is cut where the next entry would make it too large: a large one may not be all.
        if not last.is_large:
            await self._pause(_SMALL_BATCH_PAUSE_S)
        return True

    async def _deliver_in_turn(self) -> _Batch[Packed] | None:
        """Deliver batches while they are large; returns the last one, None where there was none.

        While the target stores a batch, the next one is packed.
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
            # Acknowledged in order, while the next was sent.
            for acknowledged in under_way:
                await acknowledged
        return last

    async def _batch(self, *, after: int) -> _Batch[Packed] | None:
        """The next batch behind an entry's number, packed; None where there is none."""
        entries = await self._outbox.read(max_lines=_BATCH_LINES, after=after)
        if not entries:
            return None
        packed = await self._target.pack(entries)
        return _Batch(entries, packed, sum([entry.points for entry in entries]))

    async def _store(self, batch: _Batch[Packed]) -> asyncio.Future[None]:
        """Have a batch stored; done when the outbox knows of it. Raises Blocked."""
        last = batch.entries[-1].id
        if last > self._noted_id:
            await self._note_sent(last + _NOTED_AHEAD)
        try:
            dead = await self._target.store(batch.packed)
        except Blocked as obstacle:
            if obstacle.sent:
                self.sent_id = max(self.sent_id, last)
            else:
                await self._note_sent(self.sent_id)
            raise
        self.sent_id = max(self.sent_id, last)
        acknowledged = self._outbox.acknowledge(batch.entries, dead)
        self._metrics.writer_lines.labels("written").inc(batch.lines - len(dead))
        if dead:
            self._metrics.writer_lines.labels("dead-letter").inc(len(dead))
            why = _without_pseudonyms(dead[0].reason)
            log.error("lines set aside", reason="dead-letter", lines=len(dead), why=why)
        self._unblock()
        return acknowledged

    async def _note_sent(self, number: int) -> None:
        """Have the outbox remember that entries up to a number may be sent."""
        await self._outbox.change(lambda file: file.dating.note_sent(number))
        self._noted_id = number

    def _block(self, reason: str, words: str) -> None:
        if self._blocked != reason:
            self._unblock(silent=True)
            log.error(
                "no progress to InfluxDB; reports wait in the outbox",
                reason=reason,
                why=_without_pseudonyms(words),
            )
        self._blocked = reason
        self._metrics.writer_blocked.labels(reason).set(1)

    def _unblock(self, *, silent: bool = False) -> None:
        if self._blocked is not None:
            self._metrics.writer_blocked.labels(self._blocked).set(0)
            if not silent:
                log.info("progress to InfluxDB again")
        self._blocked = None

    async def _next_arrival(self) -> None:
        """Wait for an entry, at most a second: another process may send dead letters again."""
        arrived = asyncio.ensure_future(self._outbox.arrived.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        _, waiting = await asyncio.wait(
            (arrived, stopping), timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED
        )
        for task in waiting:
            task.cancel()

    async def _pause(self, seconds: float) -> None:
        """Wait; while stopping only briefly, so that the drain can use its time."""
        if self._stopping.is_set():
            await asyncio.sleep(min(seconds, 0.2, max(0.0, self._deadline - time.monotonic())))
            return
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass
