"""Fixtures with real NATS servers: one alone, and three as a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.jetstream.connection import Connection
from collector.jetstream.message import decode
from collector.outbox import Entry
from tools.nats import NatsCluster, NatsServer


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


async def entries_in(to: Connection, stream: str) -> list[Entry]:
    """Return the entries that a stream holds, in order."""
    jetstream = await to.jetstream()
    state = (await jetstream.stream_info(stream)).state
    if not state.messages:
        return []
    return [
        decode((await jetstream.get_msg(stream, seq)).data or b"")
        for seq in range(state.first_seq, state.last_seq + 1)
    ]
