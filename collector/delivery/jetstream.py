"""NATS JetStream as a delivery target: publishes each entry as a message to the stream."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import structlog

from collector.delivery.target import Blocked, Dead, Target
from collector.jetstream.board import Board
from collector.jetstream.connection import Connection, NatsUnavailable
from collector.jetstream.message import HEAD_MOST, NotAnEntry, encode, parts
from collector.jetstream.naming import message_id, subject
from collector.jetstream.orders import Book
from collector.jetstream.publishing import Message, NotStored, Publisher
from collector.jetstream.sealing import Key, Keys, seal
from collector.jetstream.stream import ensure
from collector.metrics import Metrics
from collector.outbox import Pending, Queue
from collector.settings import Settings

log = structlog.get_logger("collector.delivery")

_LEAST_PAYLOAD: Final = 64 << 10


class _Packed(NamedTuple):
    """Messages to be published, entries that can't be, and the number of the last entry.

    Each message has the entry beside it of which it is the whole or a part.
    """

    messages: list[tuple[Pending, Message]]
    dead: list[Dead]
    last_id: int


class JetStreamTarget:
    """Stores the entries of a queue in the stream, each in a message of its own.

    An entry is stored once the stream has acknowledged all its messages. One that is sent again
    after a missing acknowledgement has the same id, if it is sealed with the same key; one that is
    replayed has another, so that the stream takes it though it had it a moment ago. Reports that an
    order erases are not sent.
    """

    def __init__(
        self, connection: Connection, settings: Settings, metrics: Metrics, queue: Queue
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._metrics = metrics
        self._queue = queue
        self._publisher = Publisher(connection, settings.nats_stream)
        board = Board(connection, settings)
        self._book = Book(board)
        self._keys = Keys(board)
        self._prepared = False
        self._most_bytes = _LEAST_PAYLOAD - HEAD_MOST
        self._stored_id = 0
        """Highest number of an entry that this process has stored."""
        self._replay = ""
        """Suffix of ids since the last replay."""

    async def prepare(self) -> None:
        """Make the stream if it is missing, unless that was seen to. Raises Blocked."""
        if self._prepared:
            return
        try:
            client = await self._connection.client()
            self._most_bytes = client.max_payload - HEAD_MOST
            for made in await ensure(await self._connection.jetstream(), self._settings):
                log.info("made in JetStream", what=made)
        except NatsUnavailable as error:
            raise Blocked("unavailable", str(error), sent=False) from error
        self._prepared = True

    async def pack(self, entries: Sequence[Pending]) -> _Packed:
        """Build the messages of entries; an entry above NATS's size is split at its line ends."""
        if entries and entries[0].id <= self._stored_id:
            self._replay = f"-{secrets.token_hex(4)}"
            self._stored_id = entries[0].id - 1
        return await asyncio.to_thread(self._packed, entries, self._replay)

    def _packed(self, entries: Sequence[Pending], replay: str) -> _Packed:
        packed = _Packed([], [], entries[-1].id if entries else 0)
        for entry in entries:
            for part in parts(entry, self._most_bytes):
                if len(part.lines) > self._most_bytes:
                    packed.dead.append(Dead(entry, part.lines, self._too_large()))
                    continue
                try:
                    to = subject(self._settings.nats_stream, part.target, part.server)
                    message = Message(to, f"{message_id(part)}{replay}", encode(part))
                except (NotAnEntry, ValueError) as error:
                    packed.dead.append(Dead(entry, part.lines, str(error)))
                else:
                    packed.messages.append((entry, message))
        return packed

    def _too_large(self) -> str:
        return (
            f"larger than the {self._most_bytes + HEAD_MOST} bytes that NATS takes: raise its"
            " `max_payload`, then `collector outbox retry`"
        )

    async def store(self, packed: _Packed) -> Sequence[Dead]:
        """Publish entries and wait for all acknowledgements; return those that cannot be sent.

        Raises Blocked.
        """
        begun = time.perf_counter()
        messages, key = await self._to_send(packed)
        try:
            await self._publisher.publish(await asyncio.to_thread(_sealed, messages, key))
        except NotStored as error:
            reason = "full" if error.full else "denied"
            self._count(reason, begun)
            self._prepared = False
            raise Blocked(reason, f"JetStream refuses reports: {error}") from error
        except NatsUnavailable as error:
            self._count("unavailable", begun)
            # The stream may be gone, and whether the connection serves is seen by asking for it.
            self._prepared = False
            raise Blocked("unavailable", str(error)) from error
        if not self._keys.counts():
            self._count("unavailable", begun)
            raise Blocked("unavailable", "JetStream answered too late for its answer to count")
        self._count("written", begun)
        self._stored_id = max(self._stored_id, packed.last_id)
        return [dead for dead in packed.dead if not self._is_erased(dead.entry)]

    async def _to_send(self, packed: _Packed) -> tuple[list[Message], Key]:
        """Return the messages that no order erases, and the key to seal them with.

        Raises Blocked.
        """
        try:
            await self._book.refresh()
            key = await self._keys.newest()
        except NatsUnavailable as error:
            self._prepared = False
            raise Blocked("unavailable", str(error), sent=False) from error
        kept = [message for entry, message in packed.messages if not self._is_erased(entry)]
        if erased := len(packed.messages) - len(kept):
            self._metrics.writer_erased.labels(self._queue).inc(erased)
        return kept, key

    def _is_erased(self, entry: Pending) -> bool:
        return self._book.erased(entry.server, entry.received_ns)

    def _count(self, outcome: str, begun: float) -> None:
        self._metrics.writer_seconds.labels(self._queue).observe(time.perf_counter() - begun)
        self._metrics.writer_requests.labels(self._queue, outcome).inc()


def _sealed(messages: Sequence[Message], key: Key) -> list[Message]:
    """Seal messages. An id names the key, so that what is sent again under another is stored."""
    return [Message(to, f"{id_}.{key.number}", seal(key, body)) for to, id_, body in messages]


def jetstream_targets(
    connection: Connection, settings: Settings, metrics: Metrics, *, records: bool
) -> dict[Queue, Target[Any]]:
    """Return the target of each queue; that of the records store only if it is wanted."""
    queues = Queue if records else (Queue.INFLUX,)
    return {queue: JetStreamTarget(connection, settings, metrics, queue) for queue in queues}
