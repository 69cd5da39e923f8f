"""The writing loop: stores what the stream delivers in a target, and acknowledges it then."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Final, Generic

import structlog

from collector.delivery.progress import Progress, pause_s
from collector.delivery.target import Blocked, Dead, Packed, Target
from collector.jetstream.board import Board
from collector.jetstream.connection import NatsUnavailable
from collector.jetstream.message import NotAnEntry, decode
from collector.jetstream.orders import Book, LateReport, tell_late
from collector.jetstream.pulling import Delivered, Puller
from collector.jetstream.sealing import Keys
from collector.jetstream.stream import ACK_WAIT_S
from collector.metrics import Metrics
from collector.outbox import (
    DeadLetter,
    Entry,
    Outbox,
    OutboxFile,
    OutboxUnavailable,
    Pending,
    Queue,
)
from collector.outbox.delivering import DeliveryLock
from collector.privacy import ServerPseudonym
from collector.schema import NODE_REPORT, QUARANTINE, SERVER_REPORT
from collector.supervisor import beside, wait_at_most

log = structlog.get_logger("collector.delivery")

_HEARTBEAT_S: Final = ACK_WAIT_S / 3
_AGAIN_S: Final = 1.0
"""Delay after which JetStream delivers messages again that could not be stored."""
_BACKOFF_MOST_S: Final = 10.0
_STOP_S: Final = 10.0
_IN_QUARANTINE: Final = tuple(
    f"{measurement.name}{after}".encode()
    for measurement in (SERVER_REPORT, NODE_REPORT)
    for after in ", "
)
_UNKNOWN: Final = "unknown"
"""Sender of a dead letter that is no entry."""


@dataclass(eq=False)
class Writing(Generic[Packed]):
    """Stores a queue's messages in its target; any number of processes do so at the same time.

    A message is acknowledged after the target has stored it and its refused lines are durable in
    `outbox` as dead letters. Without an acknowledgement it is delivered again, here or to another
    process; the target stores an equal entry once. Entries that an order erases are dropped. `lock`
    is held from the look at the orders to the acknowledgement.
    """

    puller: Puller
    target: Target[Packed]
    outbox: Outbox
    board: Board
    lock: DeliveryLock
    metrics: Metrics
    _: KW_ONLY
    queue: Queue

    def __post_init__(self) -> None:
        self.name = f"write-{self.queue}"
        self._book, self._keys = Book(self.board), Keys(self.board)
        self._stopping = asyncio.Event()
        self._limit: asyncio.Timeout | None = None
        self._held: list[Delivered] = []
        """Messages that are neither acknowledged nor given back."""
        words = "no progress to a target; reports wait in the stream"
        reasons = ("denied", "unavailable", "outbox", "stream")
        self.progress = Progress(self.metrics, self.queue, *reasons, words=words)

    def stop(self) -> None:
        """Make `run` store the batch in hand and return, within 10 s."""
        if self._limit is not None and not self._stopping.is_set():
            self._limit.reschedule(asyncio.get_running_loop().time() + _STOP_S)
        self._stopping.set()

    async def run(self) -> None:
        """Write until `stop` is called; what is pulled and not stored is given back."""
        attempt = 0
        while not self._stopping.is_set():
            try:
                await self.target.prepare()
                await self._write_while_there_is()
            except (Blocked, NatsUnavailable, OutboxUnavailable, OSError) as obstacle:
                attempt += 1
                self.progress.blocked(*_said(obstacle))
                await self._give_back(_AGAIN_S)
                asked = obstacle.retry_after if isinstance(obstacle, Blocked) else None
                pause = pause_s(attempt, asked, most_s=_BACKOFF_MOST_S)
                await wait_at_most(pause, self._stopping)
            else:
                attempt = 0

    async def _write_while_there_is(self) -> None:
        """Store batches until none comes or `stop` is called; pulls one while another is stored."""
        batch = await self._pull()
        self.progress.made()
        async with beside(self._heartbeat()):
            while batch and not self._stopping.is_set():
                following = asyncio.create_task(self._pull())
                try:
                    async with self.lock.delivering():
                        await self._store(batch)
                    batch = await following
                finally:
                    # Its messages are among those held, and so are given back.
                    following.cancel()
                    await asyncio.gather(following, return_exceptions=True)
        await self._give_back(0.0)

    async def _pull(self) -> list[Delivered]:
        messages = await self.puller.pull()
        self._held += messages
        again = sum(message.metadata.num_delivered > 1 for message in messages)
        self.metrics.stream_redelivered.labels(self.queue).inc(again)
        return messages

    async def _store(self, batch: Sequence[Delivered]) -> None:
        """Store a batch and acknowledge it.

        Raises Blocked, NatsUnavailable, OutboxUnavailable, OSError.
        """
        entries: list[Pending] = []
        letters: list[DeadLetter] = []
        await self._book.refresh()
        for message in batch:
            try:
                entry = decode(await self._keys.opened(message.data))
            except NotAnEntry as error:
                letters.append(_letter_of(message, str(error)))
                continue
            if self._book.erased(entry.server, entry.received_ns):
                self.metrics.writer_erased.labels(self.queue).inc()
            else:
                entries.append(Pending(len(entries) + 1, *self._marked(entry)))
        lines = sum(entry.points for entry in entries)
        if entries:
            packed = await self.target.pack(entries)
            letters += map(_letter, await self._stored(packed))
        if letters:
            await self.outbox.change(partial(_put, letters))
            self.progress.set_aside(len(letters), letters[0].reason)
        await self._tell_late(entries)
        await self.puller.acknowledge(batch)
        stored = set(map(id, batch))
        self._held = [message for message in self._held if id(message) not in stored]
        self.metrics.writer_lines.labels(self.queue, "dead-letter").inc(len(letters))
        self.metrics.writer_lines.labels(self.queue, "written").inc(max(0, lines - len(letters)))
        self.progress.made()

    def _marked(self, entry: Entry) -> Entry:
        """Return an entry with the mark of its batch, if it is in quarantine."""
        first = entry.lines.partition(b"\n")[0].rpartition(b" ")[2]
        batch = self._book.batch_of(entry.server, int(first)) if first.isdigit() else None
        return entry if batch is None else entry._replace(lines=marked(entry.lines, batch))

    async def _tell_late(self, entries: Sequence[Pending]) -> None:
        """Tell receivers of entries that were stored though an order had erased them meanwhile."""
        await self._book.refresh()
        late: dict[ServerPseudonym, int] = {}
        for entry in entries:
            if entry.server and self._book.erased(entry.server, entry.received_ns):
                late[entry.server] = max(entry.received_ns, late.get(entry.server, 0))
        for server, until in late.items():
            await tell_late(self.board, self._keys, self._book.salt, LateReport(server, until))
            log.warning("erased reports were stored too late: they are erased again")

    async def _stored(self, packed: Packed) -> Sequence[Dead]:
        """Store a packed batch, which after `stop` may take 10 s more. Raises Blocked."""
        limit_s = _STOP_S if self._stopping.is_set() else None
        try:
            async with asyncio.timeout(limit_s) as self._limit:
                return await self.target.store(packed)
        except TimeoutError as error:
            raise Blocked("unavailable", "the target is silent while this process ends") from error
        finally:
            self._limit = None

    async def _heartbeat(self) -> None:
        """Tell JetStream regularly, until cancelled, that the messages held are in hand."""
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            # Without it JetStream delivers them again, which does no harm.
            with contextlib.suppress(NatsUnavailable):
                await self.puller.in_progress(list(self._held))

    async def _give_back(self, delay_s: float) -> None:
        """Give back the messages held; without a connection JetStream notices by itself."""
        held, self._held = self._held, []
        if held:
            with contextlib.suppress(NatsUnavailable):
                await self.puller.give_back(held, delay_s=delay_s)


def _said(obstacle: BaseException) -> tuple[str, str]:
    """Return an obstacle's word for the metric, and its text."""
    if isinstance(obstacle, Blocked):
        return obstacle.reason, str(obstacle)
    return ("stream" if isinstance(obstacle, NatsUnavailable) else "outbox"), str(obstacle)


def _letter(dead: Dead) -> DeadLetter:
    entry, line, reason = dead
    now = time.time_ns()
    return DeadLetter(0, entry.received_ns, entry.server, line, reason, now, *entry[5:])


def _letter_of(message: Delivered, reason: str) -> DeadLetter:
    """Return a dead letter of a message that is no entry; its target is in its subject."""
    now = time.time_ns()
    words = message.subject.split(".")
    target = words[2] if len(words) > 2 else _UNKNOWN
    return DeadLetter(0, now, None, message.data, f"no entry: {reason}", now, target, _UNKNOWN)


def marked(lines: bytes, batch: int) -> bytes:
    """Return lines with the number of their batch in quarantine; other measurements stay."""
    mark = f",{QUARANTINE}={batch}i ".encode()
    found = []
    for line in lines.split(b"\n"):
        if line.startswith(_IN_QUARANTINE):
            fields, _, stamp = line.rpartition(b" ")
            found.append(fields + mark + stamp)
        else:
            found.append(line)
    return b"\n".join(found)


def _put(letters: Sequence[DeadLetter], file: OutboxFile) -> None:
    for letter in letters:
        if not file.has_dead_letter(letter):
            file.put_dead_letter(letter)
