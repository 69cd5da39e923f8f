"""The series depend on what was received, and on nothing else: no order, no repetition."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.conftest import Databases
from tests.fleets import EPOCH, Received, random_fleet
from tests.length import seeds
from tests.network import Network, differences, lines_of
from tests.oracle import DAY, HOUR, Oracle, Series, said

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

DAYS = 9
NOW = (EPOCH + DAYS) * DAY - 7 * HOUR
CHOSEN = range(EPOCH, EPOCH + DAYS)


@pytest.fixture
def network(databases: Databases) -> Network:
    made = Network(databases)
    made.create()
    return made


@pytest.fixture(scope="module")
def received() -> Received:
    """What a fleet of 7 servers sends in 9 days; the last is open still."""
    return [e for e in random_fleet(31, days=DAYS, servers=7) if e[0] < NOW]


@pytest.fixture(scope="module")
def exact(received: Received) -> Series:
    return Oracle(said(received), NOW).series()


@pytest.mark.parametrize("seed", seeds(1, 10))
async def test_points_may_arrive_in_any_order_and_more_than_once(
    network: Network, state_dir: Path, received: Received, exact: Series, seed: int
) -> None:
    lines = lines_of(received)
    rng = random.Random(seed)
    rng.shuffle(lines)
    async with network.rollup(state_dir) as rollup:
        for share in range(3):
            # Some of what is there already comes again with what is new.
            network.lay(lines[share::3] + rng.sample(lines, len(lines) // 4))
            await rollup.reconcile(NOW)

    assert not differences(network.series(), exact)


@pytest.mark.parametrize("seed", seeds(1, 10))
@pytest.mark.parametrize("computed", [9, 5, 1])
async def test_days_may_be_computed_in_any_order_before_a_look(
    network: Network, state_dir: Path, received: Received, exact: Series, computed: int, seed: int
) -> None:
    network.lay_received(received)
    days = list(CHOSEN)
    random.Random(seed * DAYS + computed).shuffle(days)
    async with network.rollup(state_dir) as rollup:
        await rollup.roll(days[:computed], NOW)
        await rollup.reconcile(NOW)

        assert not differences(network.series(), exact)
        assert await rollup.due(NOW) == []


async def test_a_day_computed_before_its_eve_was_healed_is_right_after_a_look(
    network: Network, state_dir: Path, received: Received, exact: Series
) -> None:
    eve = EPOCH + DAYS - 4
    late = [each for each in received if each[0] // DAY == eve][1:]
    network.lay_received([each for each in received if each not in late])
    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(NOW)
        network.lay_received(late)
        # It knows of the late reports, but not yet what the eve's hours should have been.
        await rollup.roll(range(eve + 1, EPOCH + DAYS), NOW)
        await rollup.reconcile(NOW)

    assert not differences(network.series(), exact)


async def test_computing_a_day_again_changes_nothing(
    network: Network, state_dir: Path, tmp_path: Path, received: Received, exact: Series
) -> None:
    network.lay_received(received)
    for state in (state_dir, state_dir, tmp_path / "another"):
        async with network.rollup(state) as rollup:
            await rollup.roll(CHOSEN, NOW)
        assert not differences(network.series(), exact)


async def test_a_day_of_more_rows_than_influxdb_sends_in_a_chunk_is_counted_whole(
    network: Network, state_dir: Path
) -> None:
    reports = 21_000
    time = EPOCH * DAY
    tags = "arch=x86_64,asl_version=asl3-1.3,asterisk_version=20.7.0,distro=Debian,release=12"
    network.lay(
        [
            f"node_report,{tags},channel=voter,registration=http"
            f' node="{n:016x}",server="{n % 7000:016x}" {time + n * 1_000_000}'
            for n in range(reports)
        ]
        + [
            f'server_report,{tags} server="{n:016x}",nodes=3i {time + n * 1_000_000 + 1000}'
            for n in range(7000)
        ]
    )
    async with network.rollup(state_dir, k=5) as rollup:
        [result] = await rollup.roll([EPOCH], NOW)

    assert (result.reports, result.servers, result.nodes) == (7000, 7000, reports)
    fields = network.found("daily_usage")[time, ()]
    assert (fields["voter"], fields["node_reports"]) == (reports, reports)
