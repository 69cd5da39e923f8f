"""Servers, receivers and writers fail under load: what was acknowledged is stored once."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest

from tests.command import command
from tests.conftest import Databases, Serve, StartServe
from tests.hops import STREAM, Hops
from tests.ledger import Ledger, emptied, settled
from tests.length import LONG, repeat, seed
from tests.sender import metric, until
from tools.nats import NatsCluster

SEED = 20_261_126
STILL_S = repeat(1, 15)
"""In `make chaos` longer than JetStream waits for an acknowledgement."""
KILLS = repeat(1, 20)

Fault = Callable[[NatsCluster], Awaitable[None]]


async def one_killed(cluster: NatsCluster) -> None:
    leader = cluster.leader(STREAM)
    follower = next(server for server in cluster.servers if server is not leader)
    follower.kill()
    await asyncio.sleep(1.0)
    await asyncio.to_thread(follower.launch)


async def leader_killed(cluster: NatsCluster) -> None:
    leader = await asyncio.to_thread(cluster.leader, STREAM)
    leader.kill()
    await asyncio.sleep(1.0)
    await asyncio.to_thread(leader.launch)


async def leader_paused(cluster: NatsCluster) -> None:
    leader = await asyncio.to_thread(cluster.leader, STREAM)
    leader.pause()
    await asyncio.sleep(3.0)
    leader.resume()


async def all_killed(cluster: NatsCluster) -> None:
    cluster.kill()
    await asyncio.sleep(1.0)
    for server in cluster.servers:
        server.launch()


FAULTS: Final[dict[str, Fault]] = {
    "one of three NATS servers killed": one_killed,
    "leader of the stream killed": leader_killed,
    "leader of the stream stopped for 3 s": leader_paused,
    "all three NATS servers killed at once": all_killed,
}
TRIED: Final = list(FAULTS) if LONG else ["all three NATS servers killed at once"]
"""An election takes seconds, so `make test` tries the worst fault only."""


@pytest.fixture
def hops(
    nats_cluster: NatsCluster, databases: Databases, serve: StartServe, tmp_path: Path
) -> Hops:
    return Hops(nats_cluster, databases, serve, tmp_path, replicas=3)


@pytest.mark.parametrize("fault", TRIED)
async def test_reports_acked_while_servers_fail_are_all_there_once(
    hops: Hops, nats_cluster: NatsCluster, databases: Databases, fault: str
) -> None:
    receiver = await asyncio.to_thread(hops.receiver)
    await asyncio.to_thread(hops.writer)
    ledger = Ledger(receiver.url)
    async with ledger.sending():
        await ledger.more(50)
        await FAULTS[fault](nats_cluster)
        ended = time.monotonic()
        await ledger.more(50)
    row = await settled(ledger, databases, receiver, fault=fault, rounds=1, ended=ended)
    assert row.refused == row.unanswered == 0


async def test_reports_in_a_stream_that_was_lost_whole_are_replayed(
    hops: Hops, nats_cluster: NatsCluster, databases: Databases
) -> None:
    receiver = await asyncio.to_thread(hops.receiver)
    ledger = Ledger(receiver.url)
    async with ledger.sending():
        # Without a writer all of them are in the stream alone when it is lost.
        await ledger.more(100)
    await emptied(receiver)
    await asyncio.to_thread(nats_cluster.wipe)
    await asyncio.to_thread(nats_cluster.start)
    ended = time.monotonic()
    assert command(receiver.environment, "outbox", "replay", "--since", "1h").code == 0
    await asyncio.to_thread(hops.writer)
    row = await settled(
        ledger,
        databases,
        receiver,
        fault="all three NATS servers wiped, then `outbox replay --since`",
        rounds=1,
        ended=ended,
    )
    assert row.refused == row.unanswered == 0


async def test_reports_wait_in_the_outbox_while_the_stream_is_full(
    hops: Hops, databases: Databases
) -> None:
    hops.stream_max = "1MiB"
    receiver = await asyncio.to_thread(hops.receiver)
    ledger = Ledger(receiver.url)
    blocked = "collector_writer_blocked"
    full = {"target": "influx", "reason": "full"}
    deadline = time.monotonic() + 240
    while not await asyncio.to_thread(metric, receiver.metrics_url, blocked, **full):
        assert time.monotonic() < deadline
        await ledger.send_all(500)
    await ledger.send_all(100)
    ended = time.monotonic()
    await asyncio.to_thread(hops.writer)
    row = await settled(
        ledger, databases, receiver, fault="the stream is full", rounds=1, ended=ended
    )
    assert row.refused == row.unanswered == 0


@pytest.mark.timeout(400)
async def test_reports_acked_while_receivers_and_writers_are_killed_are_all_there_once(
    hops: Hops, databases: Databases
) -> None:
    chance = random.Random(seed(SEED))
    receiver = await asyncio.to_thread(hops.receiver)
    writers = [await asyncio.to_thread(hops.writer) for _ in range(2)]
    ledger = Ledger(receiver.url)

    def again(process: Serve, role: str) -> Serve:
        process.kill()
        return hops.serve(process.environment, role=role)

    async with ledger.sending():
        for _ in range(KILLS):
            await ledger.more(20)
            place = chance.randrange(2)
            writers[place] = await asyncio.to_thread(again, writers[place], "write")
            receiver = await asyncio.to_thread(again, receiver, "receive")
        ended = time.monotonic()
        await ledger.more(20)
    row = await settled(
        ledger,
        databases,
        receiver,
        fault="kill -9 of a receiver and a writer, with a stream between them",
        rounds=KILLS,
        ended=ended,
    )
    assert row.refused == 0
    await until(lambda: not hops.waiting())


async def test_reports_in_the_hands_of_a_writer_that_stands_still_are_stored_once(
    hops: Hops, databases: Databases
) -> None:
    receiver = await asyncio.to_thread(hops.receiver)
    slow = await asyncio.to_thread(hops.writer)
    ledger = Ledger(receiver.url)
    async with ledger.sending():
        await ledger.more(50)
        slow.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(STILL_S)
        slow.process.send_signal(signal.SIGCONT)
        ended = time.monotonic()
        await ledger.more(50)
    row = await settled(
        ledger,
        databases,
        receiver,
        fault="the only writer stands still",
        rounds=1,
        ended=ended,
    )
    assert row.refused == row.unanswered == 0
