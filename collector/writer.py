"""From the outbox to InfluxDB: one loop, in order, until everything is delivered."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

import structlog

from collector.influx import (
    Denied,
    Influx,
    InfluxError,
    InfluxUnavailable,
    Rejected,
    TooLarge,
    Unavailable,
    WriteResult,
    Written,
)
from collector.metrics import Metrics
from collector.outbox import Outbox, OutboxUnavailable, Pending
from collector.outbox.delivering import DeliveryLock
from collector.schema import RAW

log = structlog.get_logger("collector.writer")

_BATCH_LINES: Final = 5000
_GATHER_S: Final = 0.25
"""A batch is made ready in the time of those who send: often and little keeps nobody waiting."""
_LOOK_S: Final = 1.0
_IN_A_ROW: Final = 16
_BACKOFF_FIRST_S: Final = 0.2
_BACKOFF_MOST_S: Final = 30.0
_DRAIN_S: Final = 10.0
_PSEUDONYM: Final = re.compile(r"[0-9a-f]{16}")

Dead = tuple[Pending, bytes, str]
"""An entry, its line that InfluxDB refused, and why."""


class _Batch(NamedTuple):
    """Entries on their way: their lines compressed, and how many these are."""

    entries: list[Pending]
    body: bytes
    lines: int

    @property
    def is_large(self) -> bool:
        """Whether more may wait behind it."""
        return self.lines >= _BATCH_LINES // 2


def _quiet(words: str) -> str:
    """What InfluxDB said of lines, for the log: it may repeat one, with pseudonyms in it."""
    return _PSEUDONYM.sub("(pseudonym)", words)


class _NoProgress(Exception):
    """InfluxDB takes nothing now: `blocked` is the word for it, the text what it said."""

    def __init__(self, blocked: str, words: str, retry_after: float | None = None) -> None:
        super().__init__(words)
        self.blocked = blocked
        self.retry_after = retry_after


def backoff(attempt: int, jitter: float) -> float:
    """Seconds to wait after failure number `attempt` (from 1); `jitter` is in 0..1.

    Doubles from 0.2 s to at most 30 s, of which half is left to chance.
    """
    full = min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2.0 ** min(attempt - 1, 10))
    return full * (0.5 + 0.5 * jitter)


class Writer:
    """Delivers one outbox.

    `prepare` makes the databases; it is called until it succeeds once, and again whenever
    InfluxDB denies a write. `lock` is held while entries are in hand.
    """

    def __init__(
        self,
        outbox: Outbox,
        influx: Influx,
        metrics: Metrics,
        prepare: Callable[[], Awaitable[object]],
        lock: DeliveryLock,
    ) -> None:
        self._outbox = outbox
        self._influx = influx
        self._metrics = metrics
        self._prepare = prepare
        self._prepared = False
        self._lock = lock
        self._stopping = asyncio.Event()
        self._deadline = float("inf")
        self._limit: asyncio.Timeout | None = None
        self._blocked: str | None = None
        for reason in ("denied", "unavailable", "outbox"):
            metrics.writer_blocked.labels(reason).set(0)

    async def run(self) -> None:
        """Deliver until `stop`, then what is left for at most 10 s."""
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
                await self._make_databases()
                delivered = await self._deliver()
            except _NoProgress as obstacle:
                attempt += 1
                self._block(obstacle.blocked, str(obstacle))
                self._prepared = self._prepared and obstacle.blocked != "denied"
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
        """Ask `run` to deliver what is left and return."""
        self._deadline = time.monotonic() + _DRAIN_S
        self._stopping.set()
        if self._limit is not None:
            # A request that InfluxDB leaves without an answer must not hold the stop up.
            self._limit.reschedule(asyncio.get_running_loop().time() + _DRAIN_S)

    async def _make_databases(self) -> None:
        """Once, and again after each denial. Raises _NoProgress while InfluxDB is away."""
        if self._prepared:
            return
        try:
            await self._prepare()
        except InfluxUnavailable as error:
            raise _NoProgress("unavailable", str(error)) from error
        except InfluxError as error:
            # A token that may only write is enough: whether it may is what the write will tell.
            log.warning("databases could not be made or looked at", why=str(error))
        self._prepared = True

    async def _deliver(self) -> bool:
        """Deliver some batches; False where there is nothing to deliver. Raises _NoProgress."""
        self._outbox.arrived.clear()
        try:
            async with self._lock.delivering():
                last = await self._deliver_in_turn()
        except (OutboxUnavailable, OSError) as error:
            raise _NoProgress("outbox", str(error)) from error
        if last is None:
            return False
        # A batch is cut where the next report would make it too large: a large one may not be all.
        if not last.is_large:
            await self._pause(_GATHER_S)
        return True

    async def _deliver_in_turn(self) -> _Batch | None:
        """Deliver batches while there are large ones; the last one, None where there was none.

        While InfluxDB stores one, the next is made ready. At most some in a row: who deletes waits.
        """
        batch, last = await self._batch(after=0), None
        under_way: list[asyncio.Future[None]] = []
        following = None
        try:
            for turn in range(_IN_A_ROW):
                if batch is None:
                    break
                following = None
                if batch.is_large and turn + 1 < _IN_A_ROW:
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

    async def _batch(self, *, after: int) -> _Batch | None:
        """What is to be delivered next behind an entry, ready to be sent."""
        entries = await self._outbox.read(max_lines=_BATCH_LINES, after=after)
        if not entries:
            return None
        body = await self._influx.packed(b"\n".join([entry.lines for entry in entries]))
        return _Batch(entries, body, sum([entry.points for entry in entries]))

    async def _store(self, batch: _Batch) -> asyncio.Future[None]:
        """Have InfluxDB store a batch, but for what it refuses. Raises _NoProgress.

        Done when the outbox knows of it.
        """
        dead: Sequence[Dead] = ()
        result = await self._write(batch.body)
        if not isinstance(result, Written):
            dead = await self._isolate(
                [(entry, line) for entry in batch.entries for line in entry.lines.split(b"\n")],
                result,
            )
        acknowledged = self._outbox.acknowledge(batch.entries, dead)
        self._metrics.writer_lines.labels("written").inc(batch.lines - len(dead))
        if dead:
            self._metrics.writer_lines.labels("dead-letter").inc(len(dead))
            why = _quiet(dead[0][2])
            log.error("lines set aside", reason="dead-letter", lines=len(dead), why=why)
        self._unblock()
        return acknowledged

    async def _isolate(self, lines: list[tuple[Pending, bytes]], result: WriteResult) -> list[Dead]:
        """Which of these lines InfluxDB refuses, when it answered `result` to all of them.

        By halves: what was stored already is stored again, over itself. Raises _NoProgress.
        """
        match result:
            case Written():
                return []
            case Unavailable(reason, retry_after):
                raise _NoProgress("unavailable", reason, retry_after)
            case Denied(status, reason):
                raise _NoProgress("denied", f"InfluxDB answers {status}: {reason}")
            case Rejected(reason, dropped) if len(lines) == 1 or dropped == len(lines):
                return [(entry, line, reason) for entry, line in lines]
            case TooLarge() if len(lines) == 1:
                return [(entry, line, "too large for InfluxDB") for entry, line in lines]
        middle = len(lines) // 2
        dead: list[Dead] = []
        for half in (lines[:middle], lines[middle:]):
            answer = await self._write(
                await self._influx.packed(b"\n".join([line for _, line in half]))
            )
            dead += await self._isolate(half, answer)
        return dead

    async def _write(self, body: bytes) -> WriteResult:
        begun = time.perf_counter()
        result = await self._influx.write_packed(RAW, body)
        self._metrics.writer_seconds.observe(time.perf_counter() - begun)
        self._metrics.writer_requests.labels(type(result).__name__.lower()).inc()
        return result

    def _block(self, reason: str, words: str) -> None:
        if self._blocked != reason:
            self._unblock(silent=True)
            log.error(
                "no progress to InfluxDB; reports wait in the outbox",
                reason=reason,
                why=_quiet(words),
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
        """Until an entry arrives, at most a second: another process may send dead letters again."""
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
