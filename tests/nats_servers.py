"""Fixtures with real NATS servers: one alone, and three as a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from nats.errors import NoRespondersError
from nats.js.errors import ServiceUnavailableError

from collector.jetstream.board import Board
from collector.jetstream.connection import Connection, NatsUnavailable
from collector.jetstream.message import decode
from collector.jetstream.publishing import Message, Publisher
from collector.jetstream.sealing import Keys
from collector.jetstream.stream import ensure
from collector.outbox import Entry
from collector.settings import Settings
from tests.sender import GUARD_S
from tools.nats import NatsCluster, NatsServer

_Answer = TypeVar("_Answer")


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A running NATS server with JetStream, which the test may stop, kill, wipe and restart."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def nats_cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    """Three running NATS servers with JetStream as one cluster, which the test may break."""
    cluster = NatsCluster(tmp_path)
    cluster.start()
    yield cluster
    cluster.kill()


async def answered(ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """Ask servers again until they answer: busy ones, or ones that elect a leader, may not."""
    async with asyncio.timeout(GUARD_S):
        while True:
            try:
                return await ask()
            except (TimeoutError, NoRespondersError, ServiceUnavailableError, NatsUnavailable):
                await asyncio.sleep(0.05)


async def make_queues(to: Connection, settings: Settings) -> None:
    """Make the stream and the consumers, as `collector provision` does."""

    async def make() -> None:
        await ensure(await to.jetstream(), settings)

    await answered(make)


async def published(publisher: Publisher, messages: list[Message]) -> None:
    """Publish messages; once more where the stream did not acknowledge them in time."""
    await answered(lambda: publisher.publish(messages))


async def entries_in(to: Connection, settings: Settings) -> list[Entry]:
    """Return the entries that a stream holds, in order."""

    async def entries() -> list[Entry]:
        jetstream, stream = await to.jetstream(), settings.nats_stream
        keys = Keys(Board(to, settings))
        state = (await jetstream.stream_info(stream)).state
        if not state.messages:
            return []
        return [
            decode(await keys.opened((await jetstream.get_msg(stream, seq)).data or b""))
            for seq in range(state.first_seq, state.last_seq + 1)
        ]

    return await answered(entries)


def waiting_in(nats: NatsServer | NatsCluster, stream: str = "usage") -> int:
    """Return the number of messages that no writer has acknowledged, as one server knows it."""
    server = nats.servers[0] if isinstance(nats, NatsCluster) else nats
    while True:
        # A busy machine's server may not answer in time.
        for account in server.monitor("jsz?streams=true").get("account_details") or ():
            for found in account["stream_detail"]:
                if found["name"] == stream:
                    return int(found["state"]["messages"])
