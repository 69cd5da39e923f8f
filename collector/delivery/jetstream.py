"""NATS JetStream as a delivery target: publishes each entry as a message to the stream."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import structlog

from collector.delivery.target import Blocked, Dead, Target
from collector.jetstream.connection import Connection, NatsUnavailable
from collector.jetstream.message import HEAD_MOST, NotAnEntry, encode, parts
from collector.jetstream.naming import message_id, subject
from collector.jetstream.publishing import Message, NotStored, Publisher
from collector.jetstream.stream import ensure
from collector.metrics import Metrics
from collector.outbox import Pending, Queue
from collector.settings import Settings

log = structlog.get_logger("collector.delivery")

_LEAST_PAYLOAD: Final = 64 << 10


class _Packed(NamedTuple):
    """Messages to be published, entries that can't be, and the number of the last entry."""

    messages: list[Message]
    dead: list[Dead]
    last_id: int


class JetStreamTarget:
    """Stores the entries of a queue in the stream, each in a message of its own.

    An entry is stored once the stream has acknowledged all its messages. One that is sent again
    after a missing acknowledgement has the same id; one that is replayed has another, so that the
    stream takes it though it had it a moment ago.
    """

    def __init__(
        self, connection: Connection, settings: Settings, metrics: Metrics, queue: Queue
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._metrics = metrics
        self._queue = queue
        self._publisher = Publisher(connection, settings.nats_stream)
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
                    packed.messages.append(message)
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
        try:
            await self._publisher.publish(packed.messages)
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
        self._count("written", begun)
        self._stored_id = max(self._stored_id, packed.last_id)
        return packed.dead

    def _count(self, outcome: str, begun: float) -> None:
        self._metrics.writer_seconds.labels(self._queue).observe(time.perf_counter() - begun)
        self._metrics.writer_requests.labels(self._queue, outcome).inc()


class JetStreamTargets:
    """Creates the targets of outboxes that deliver to JetStream, over one connection."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings

    def of(self, metrics: Metrics, *, records: bool) -> dict[Queue, Target[Any]]:
        """Return the target of each queue; that of the records store only if it is wanted."""
        queues = Queue if records else (Queue.INFLUX,)
        return {
            queue: JetStreamTarget(self._connection, self._settings, metrics, queue)
            for queue in queues
        }
