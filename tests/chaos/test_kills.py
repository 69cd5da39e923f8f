"""Whoever is killed or stopped under load: what was acknowledged reaches InfluxDB once."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from tests.conftest import Databases, StartServe
from tests.ledger import Ledger, settled
from tests.length import repeat, seed
from tests.sender import GUARD_S
from tools.embedded import EmbeddedInflux

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

SEED = 20_240_607
KILLS = repeat(6, 100)
KILLING_S = 150
"""A slow machine kills fewer times in it: each start is waited for."""
STOPS = repeat(2, 10)


@pytest.mark.timeout(400)
async def test_reports_acked_during_random_kills_are_all_there_once(
    own_influx: EmbeddedInflux, own_databases: Databases, serve: StartServe
) -> None:
    chance = random.Random(seed(SEED))
    collector = await asyncio.to_thread(serve, own_databases.environment)
    ledger = Ledger(collector.url)
    kills = 0
    async with ledger.sending():
        deadline = time.monotonic() + KILLING_S
        # A kill between two reports tells little: at least one must hit a report under way.
        while (kills < KILLS or not ledger.unanswered) and time.monotonic() < deadline:
            kills += 1
            await asyncio.sleep(chance.uniform(0.05, 0.6))
            victim = chance.choice(("collector", "influxd", "both"))
            if victim != "collector":
                own_influx.kill()
                await asyncio.sleep(chance.uniform(0, 0.3))
            if victim != "influxd":
                collector.kill()
                # Now and then the next kill comes while it starts.
                ready = chance.random() < 0.8
                collector = await asyncio.to_thread(serve, collector.environment, ready=ready)
            if victim != "collector":
                own_influx.start()
        ended = time.monotonic()
        await asyncio.to_thread(collector.wait_ready)
        await ledger.more(100)
    row = await settled(
        ledger,
        own_databases,
        collector,
        fault="kill -9 of collector, InfluxDB or both, under load",
        rounds=kills,
        ended=ended,
    )
    assert ledger.unanswered, "no kill hit a report under way"
    assert row.acknowledged > 10 * kills
    assert row.refused == 0


async def test_reports_acked_before_orderly_stops_are_delivered(
    databases: Databases, serve: StartServe
) -> None:
    collector = await asyncio.to_thread(serve, databases.environment)
    ledger = Ledger(collector.url)
    async with ledger.sending():
        for _ in range(STOPS):
            await ledger.more(50)
            assert await asyncio.to_thread(collector.terminate) == 0
            collector = await asyncio.to_thread(serve, collector.environment)
        ended = time.monotonic()
        await ledger.more(50)
    await settled(
        ledger, databases, collector, fault="SIGTERM under load", rounds=STOPS, ended=ended
    )


async def test_second_collector_on_the_directory_changes_nothing_for_the_first(
    databases: Databases, serve: StartServe
) -> None:
    collector = await asyncio.to_thread(serve, databases.environment)
    ledger = Ledger(collector.url)
    elsewhere = {
        name: value for name, value in collector.environment.items() if not name.endswith("LISTEN")
    }
    async with ledger.sending():
        for _ in range(STOPS):
            await ledger.more(20)
            second = await asyncio.to_thread(serve, elsewhere, ready=False)
            assert await asyncio.to_thread(second.process.wait, GUARD_S) == 1
            assert "in use by another collector: stop it, or give this one" in second.logs()
            assert "Traceback" not in second.logs()
        ended = time.monotonic()
    row = await settled(
        ledger,
        databases,
        collector,
        fault="second collector on the state directory",
        rounds=STOPS,
        ended=ended,
    )
    assert row.refused == row.unanswered == 0
