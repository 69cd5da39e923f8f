"""The stream and its durable consumers: how they should be, how they are, and making them so."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    ConsumerInfo,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
)
from nats.js.errors import NotFoundError

from collector.jetstream.connection import FAILURES, NatsUnavailable
from collector.jetstream.naming import all_subjects, consumer, queue_subjects
from collector.outbox.queues import Queue
from collector.settings import Settings

DUPLICATES_S: Final = 120.0
"""Time within which the stream recognises a message sent twice; storing twice harms nothing."""
ACK_WAIT_S: Final = 10.0
"""Time after which a message is delivered to another writer, unless one says it is at work."""
MAX_ACK_PENDING: Final = 50_000
"""Most messages in the hands of writers: ten of them, each with a batch of 2000 that is stored and
one that is fetched, and a few more."""
_FIXED: Final = frozenset({"retention", "storage"})
"""Settings of a stream that no server changes once it exists."""


class Difference(NamedTuple):
    """A property of a stream or consumer that is not as the settings say."""

    of: str
    name: str
    found: object
    wanted: object
    fixed: bool

    def __str__(self) -> str:
        return f"{self.of}: {self.name} is {_said(self.found)}, wanted {_said(self.wanted)}"


@dataclass(frozen=True, slots=True)
class Found:
    """The stream and the consumers that exist, by queue."""

    stream: StreamInfo | None
    consumers: Mapping[Queue, ConsumerInfo]


def wanted_stream(settings: Settings) -> StreamConfig:
    """Return the stream by the settings.

    A message is deleted once a writer has acknowledged it. None expires and none is pushed out by
    newer ones: a full stream refuses, and reports wait in the outboxes.
    """
    return StreamConfig(
        name=settings.nats_stream,
        description="reports on their way from receivers to writers",
        subjects=[all_subjects(settings.nats_stream)],
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_bytes=int(settings.nats_stream_max),
        max_age=0,
        max_msgs=-1,
        num_replicas=settings.nats_replicas,
        duplicate_window=DUPLICATES_S,
        deny_delete=False,
        deny_purge=False,
    )


def wanted_consumer(settings: Settings, queue: Queue) -> ConsumerConfig:
    """Return the durable consumer of a queue, shared by all writers."""
    return ConsumerConfig(
        durable_name=consumer(queue),
        description=f"writers, to {queue}",
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_S,
        max_deliver=-1,
        max_ack_pending=MAX_ACK_PENDING,
        filter_subject=queue_subjects(settings.nats_stream, queue),
    )


async def look(jetstream: JetStreamContext, settings: Settings) -> Found:
    """Return what there is. Raises NatsUnavailable."""
    name, consumers = settings.nats_stream, {}
    try:
        stream = await jetstream.stream_info(name)
        for queue in Queue:
            with suppress(NotFoundError):
                consumers[queue] = await jetstream.consumer_info(name, consumer(queue))
    except NotFoundError:
        return Found(None, {})
    except FAILURES as error:
        raise NatsUnavailable(_words(error)) from error
    return Found(stream, consumers)


async def ensure(jetstream: JetStreamContext, settings: Settings) -> list[str]:
    """Make the stream and consumers that are missing; return the names of those that were made.

    Changes nothing that exists. Raises NatsUnavailable.
    """
    found = await look(jetstream, settings)
    made = []
    try:
        if found.stream is None:
            await jetstream.add_stream(wanted_stream(settings))
            made.append(f"stream {settings.nats_stream}")
        for queue in Queue:
            if queue not in found.consumers:
                await jetstream.add_consumer(settings.nats_stream, wanted_consumer(settings, queue))
                made.append(f"consumer {consumer(queue)}")
    except FAILURES as error:
        raise NatsUnavailable(_words(error)) from error
    return made


def differences(found: Found, settings: Settings) -> list[Difference]:
    """List the properties that are not as the settings say, of what exists."""
    if found.stream is None:
        return []
    name = f"stream {settings.nats_stream}"
    told = _differences(name, found.stream.config, wanted_stream(settings))
    for queue, info in found.consumers.items():
        of = f"consumer {consumer(queue)}"
        told += _differences(of, info.config, wanted_consumer(settings, queue))
    return told


async def adapt(jetstream: JetStreamContext, settings: Settings) -> list[Difference]:
    """Change the stream and consumers to what the settings say.

    Returns the differences, of which the fixed ones are left. Raises NatsUnavailable.
    """
    found = await look(jetstream, settings)
    told = differences(found, settings)
    outdated = {one.of for one in told if not one.fixed}
    try:
        if found.stream is not None and f"stream {settings.nats_stream}" in outdated:
            kept = {name: getattr(found.stream.config, name) for name in _FIXED}
            await jetstream.update_stream(replace(wanted_stream(settings), **kept))
        for queue in found.consumers:
            if f"consumer {consumer(queue)}" in outdated:
                await jetstream.add_consumer(settings.nats_stream, wanted_consumer(settings, queue))
    except FAILURES as error:
        raise NatsUnavailable(_words(error)) from error
    return told


def _differences(
    of: str, found: StreamConfig | ConsumerConfig, wanted: StreamConfig | ConsumerConfig
) -> list[Difference]:
    told = []
    for name, value in vars(wanted).items():
        if name == "description" or value is None:
            continue
        there: Any = getattr(found, name)
        if there != value:
            told.append(Difference(of, name, there, value, name in _FIXED))
    return told


def _said(value: object) -> str:
    return str(getattr(value, "value", value))


def _words(error: BaseException) -> str:
    return str(getattr(error, "description", "") or error) or "JetStream does not answer"
