"""Receivers and writers with a stream between them, for tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from collector.jetstream.connection import Connection
from collector.jetstream.message import encode
from collector.jetstream.naming import message_id, subject
from collector.jetstream.publishing import Message, Publisher
from collector.outbox import Entry
from collector.settings import Settings
from tests.conftest import Databases, Serve, StartServe
from tests.nats_servers import make_queues, published, waiting_in
from tests.sender import until
from tools.nats import NatsCluster, NatsServer

STREAM = "usage"


@dataclass
class Hops:
    """Starts receivers and writers around the stream of NATS servers; each has its own state."""

    nats: NatsServer | NatsCluster
    databases: Databases
    serve: StartServe
    directory: Path
    replicas: int = 1
    stream_max: str = "64MiB"
    receivers: int = 0
    writers: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """The settings that receivers and writers share."""
        return {
            **self.databases.environment,
            "COLLECTOR_NATS_URL": self.nats.urls,
            "COLLECTOR_NATS_REPLICAS": str(self.replicas),
            "COLLECTOR_NATS_STREAM_MAX": self.stream_max,
        }

    @property
    def settings(self) -> Settings:
        """The same as settings in this process."""
        return Settings(
            nats_url=self.nats.urls.split(","),
            nats_replicas=self.replicas,
            nats_stream_max=self.stream_max,
        )

    def receiver(self, **settings: str) -> Serve:
        """Start a receiver."""
        self.receivers += 1
        own = {
            "COLLECTOR_STATE_DIR": str(self.directory / f"receiver-{self.receivers}"),
            "COLLECTOR_INSTANCE": str(self.receivers),
        }
        return self.serve({**self.environment, **own, **settings}, role="receive")

    def writer(self, *, ready: bool = True, **settings: str) -> Serve:
        """Start a writer."""
        self.writers += 1
        own = {"COLLECTOR_STATE_DIR": str(self.directory / f"writer-{self.writers}")}
        return self.serve({**self.environment, **own, **settings}, ready=ready, role="write")

    async def put(self, entries: Iterable[Entry]) -> None:
        """Publish entries as a receiver does."""
        await self.put_messages(
            Message(subject(STREAM, one.target, one.server), message_id(one), encode(one))
            for one in entries
        )

    async def put_messages(self, messages: Iterable[Message]) -> None:
        """Publish messages to the stream, which is made if it is missing."""
        async with Connection(self.settings, name="test") as to:
            await make_queues(to, self.settings)
            await published(Publisher(to, STREAM), list(messages))

    def waiting(self) -> int:
        """Return the number of messages that no writer has acknowledged, as one server knows it."""
        return waiting_in(self.nats)

    async def written(self) -> None:
        """Wait until the stream is empty."""
        await until(lambda: not self.waiting())
