"""What a collector computes by itself as time goes by."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from collector.metrics import Metrics
from collector.rollup.schedule import EVERY, next_run
from tests.conftest import Databases
from tests.fleets import EPOCH, Received, random_fleet
from tests.network import Network, differences, moment, ns
from tests.oracle import DAY, HOUR, Oracle, S, said
from tests.sender import GUARD_S, until
from tools.embedded import EmbeddedInflux

QUARTER = HOUR // 4
MINUTE = HOUR // 60


@pytest.fixture
def network(databases: Databases) -> Network:
    made = Network(databases)
    made.create()
    return made


@pytest.fixture(scope="module")
def received() -> Received:
    """What a fleet of 40 servers sends in two days."""
    return random_fleet(61, days=2, servers=40)


class Live:
    """Reports that are there once their time has come."""

    def __init__(self, network: Network, received: Received) -> None:
        self.now = received[0][0]
        self._network = network
        self._waiting = list(received)

    def until(self, now: int) -> None:
        """Let it be `now`."""
        self.now = now
        self._network.lay_received([each for each in self._waiting if each[0] < now])
        self._waiting = [each for each in self._waiting if each[0] >= now]


async def test_the_open_day_and_its_eve_follow_their_reports_every_quarter_of_an_hour(
    network: Network, state_dir: Path, received: Received
) -> None:
    live = Live(network, received)
    # Over midnight, and until the eve is final.
    until = (EPOCH + 1) * DAY + 5 * QUARTER
    live.until((EPOCH + 1) * DAY - 5 * QUARTER)
    async with network.rollup(state_dir) as rollup:
        schedule = rollup.schedule(lambda: live.now, Metrics())
        while live.now <= until:
            assert await schedule.once()
            oracle = Oracle(said(received), live.now)
            # Nothing is told of a day before it has a report, or an hour of it is over.
            told = [EPOCH]
            if oracle.reports[-1].day > EPOCH or live.now >= (EPOCH + 1) * DAY + HOUR:
                told.append(EPOCH + 1)
            assert not differences(network.series(), oracle.series(told)), moment(live.now)
            live.until(ns(next_run(moment(live.now))))


async def test_the_eve_is_final_an_hour_after_midnight_and_not_before(
    network: Network, state_dir: Path, received: Received
) -> None:
    network.lay_received([each for each in received if each[0] // DAY == EPOCH])
    midnight = (EPOCH + 1) * DAY
    final = {}
    async with network.rollup(state_dir) as rollup:
        for minutes in (0, 15, 30, 45, 60, 75):
            await rollup.reconcile(midnight + minutes * 60 * S)
            final[minutes] = network.found("daily_usage")[EPOCH * DAY, ()]["final"]
    assert final == {0: 0, 15: 0, 30: 0, 45: 0, 60: 1, 75: 1}


async def test_a_day_that_nothing_was_added_to_is_not_computed_again(
    network: Network, state_dir: Path, received: Received
) -> None:
    network.lay_received(received)
    now = (EPOCH + 3) * DAY + 2 * HOUR
    changes: list[int] = []
    async with network.rollup(state_dir) as rollup:
        schedule = rollup.schedule(lambda: now, Metrics(), lambda: changes.append(1))
        assert await schedule.once()
        assert len(changes) == 4
        assert await schedule.once()
        assert len(changes) == 4


async def test_the_loop_looks_at_its_start_and_at_the_next_quarter_of_an_hour(
    network: Network, state_dir: Path, received: Received
) -> None:
    network.lay_received(received[: len(received) // 2])
    quarter = (EPOCH + 2) * DAY + 2 * HOUR
    now = quarter - 14 * MINUTE
    computed = asyncio.Queue[int]()

    def changed() -> None:
        nonlocal now
        # Once two days of reports and the open one are computed, the quarter is a second away.
        if computed.qsize() == 2:
            now = quarter - S
        computed.put_nowait(time.monotonic_ns())

    async with network.rollup(state_dir) as rollup:
        schedule = rollup.schedule(lambda: now, Metrics(), changed)
        loop = asyncio.create_task(schedule.run())
        await until(lambda: computed.qsize() == 3)
        *_, first = [computed.get_nowait() for _ in range(3)]
        network.lay_received(received)
        async with asyncio.timeout(GUARD_S):
            second = await computed.get()
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)

    assert second - first >= S


async def test_a_look_without_influxdb_fails_aloud_and_the_next_one_catches_up(
    own_influx: EmbeddedInflux, own_databases: Databases, state_dir: Path, received: Received
) -> None:
    network = Network(own_databases)
    network.create()
    network.lay_received(received)
    now = (EPOCH + 2) * DAY + 2 * HOUR
    metrics = Metrics()
    async with network.rollup(state_dir) as rollup:
        schedule = rollup.schedule(lambda: now, metrics)
        own_influx.terminate()
        assert not await schedule.once()
        runs = {"outcome": "failed"}
        assert metrics.registry.get_sample_value("collector_rollup_runs_total", runs) == 1

        own_influx.start()
        assert await schedule.once()
    assert not differences(network.series(), Oracle(said(received), now).series())


async def test_first_look_before_the_first_delivery_is_no_warning(
    databases: Databases, state_dir: Path
) -> None:
    async with Network(databases).rollup(state_dir) as rollup:
        schedule = rollup.schedule(lambda: (EPOCH + 2) * DAY, Metrics())
        with capture_logs() as logged:
            assert not await schedule.once()
    assert [(one["log_level"], "database not found" in one["why"]) for one in logged] == [
        ("info", True)
    ]


def test_the_quarter_of_an_hour_is_what_is_promised() -> None:
    assert timedelta(minutes=15) == EVERY
