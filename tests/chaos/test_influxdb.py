"""InfluxDB slow, silent, failing, gone, or put back to what it was hours ago."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.command import command
from tests.conftest import Databases, Serve, StartServe
from tests.faulty import Fault, FaultyProxy, at_random, hanging, slow
from tests.ledger import Ledger, delivered, settled
from tests.length import repeat, seed
from tests.sender import metric
from tools.embedded import EmbeddedInflux

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

SEED = 20_241_107
FAULT_S = repeat(4, 20)
GONE_S = repeat(5, 60)
MOST_WAIT_S = 30 + 15
"""The writer's longest pause, and time to deliver."""


async def begun(
    databases: Databases, serve: StartServe, proxy: FaultyProxy
) -> tuple[Serve, Ledger]:
    """A collector that has delivered something through this proxy."""
    settings = databases.environment | {"COLLECTOR_INFLUX_URL": proxy.url}
    collector = await asyncio.to_thread(serve, settings)
    ledger = Ledger(collector.url)
    await ledger.send_all(20)
    return collector, ledger


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (slow(2.0), "InfluxDB takes 2 s a write"),
        (hanging, "InfluxDB accepts and never answers"),
        (
            at_random(random.Random(seed(SEED))),
            "InfluxDB answers 500, 503, 429, in part, or is cut off, at random",
        ),
    ],
    ids=["slow", "hanging", "random"],
)
async def test_reports_acked_while_influxdb_is_in_trouble_are_all_there_once(
    own_influx: EmbeddedInflux,
    own_databases: Databases,
    serve: StartServe,
    fault: Fault,
    words: str,
) -> None:
    async with FaultyProxy(own_influx.url).open() as proxy:
        collector, ledger = await begun(own_databases, serve, proxy)
        async with ledger.sending():
            proxy.fault = fault
            await asyncio.sleep(FAULT_S)
            proxy.fault = None
            ended = time.monotonic()
        row = await settled(
            ledger, own_databases, collector, fault=words, rounds=proxy.met.total(), ended=ended
        )
    assert proxy.met.total() > 0
    assert row.refused == row.unanswered == 0
    assert row.recovery_s is not None
    assert row.recovery_s < MOST_WAIT_S


async def test_reports_acked_while_influxdb_is_gone_are_all_there_once(
    own_influx: EmbeddedInflux, own_databases: Databases, serve: StartServe
) -> None:
    collector = await asyncio.to_thread(serve, own_databases.environment)
    ledger = Ledger(collector.url)
    await ledger.send_all(20)
    own_influx.terminate()
    async with ledger.sending():
        await asyncio.sleep(GONE_S)
    own_influx.start()
    row = await settled(
        ledger,
        own_databases,
        collector,
        fault=f"InfluxDB gone for {GONE_S} s (the writer's pauses are then at their longest)"
        if GONE_S > 50
        else f"InfluxDB gone for {GONE_S} s",
        rounds=1,
        ended=time.monotonic(),
    )
    assert row.refused == row.unanswered == 0
    assert row.recovery_s is not None
    assert row.recovery_s < MOST_WAIT_S


async def test_what_a_restored_influxdb_lacks_is_replayed(
    own_influx: EmbeddedInflux, own_databases: Databases, serve: StartServe, tmp_path: Path
) -> None:
    collector = await asyncio.to_thread(serve, own_databases.environment)
    ledger = Ledger(collector.url)
    await ledger.send_all(300)
    await delivered(own_databases, collector, ledger.acknowledged)
    own_influx.terminate()
    backup, made = tmp_path / "backup", datetime.now(UTC)
    shutil.copytree(own_influx.directory, backup)
    own_influx.start()
    async with ledger.sending():
        await ledger.more(300)
    await delivered(own_databases, collector, ledger.acknowledged)
    own_influx.terminate()
    shutil.rmtree(own_influx.directory)
    shutil.copytree(backup, own_influx.directory)
    own_influx.start()
    ended = time.monotonic()
    async with ledger.sending():
        await ledger.more(50)
        since = (made - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%S")
        done = await asyncio.to_thread(
            command, collector.environment, "outbox", "replay", "--since", since
        )
        assert done.code == 0, done.err
        await ledger.more(50)
    row = await settled(
        ledger,
        own_databases,
        collector,
        fault="InfluxDB restored from an earlier backup, then `outbox replay --since`",
        rounds=1,
        ended=ended,
    )
    assert row.refused == row.unanswered == 0
    assert await asyncio.to_thread(metric, collector.metrics_url, "collector_dead_letters") == 0
