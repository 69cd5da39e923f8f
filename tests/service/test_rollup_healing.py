"""Days that were right and are so no more: a look of the collector makes each equal brute force."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from collector.influx.contents import Span
from collector.metrics import Metrics
from collector.rollup.compute import Outcome
from collector.rollup.points import Points, Tags
from collector.rollup.store import store, stored_points
from collector.schema import DAILY_PACKAGES
from tests.conftest import Databases
from tests.fleets import EPOCH, Received, random_fleet
from tests.network import Network, converter, differences, lines_of
from tests.oracle import DAY, HOUR, Oracle, Said, Series, said
from tests.safety import unsafe

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

DAYS = 12
NOW = (EPOCH + DAYS) * DAY + 2 * HOUR
AFTER_ALL = range(EPOCH, EPOCH + DAYS)


@pytest.fixture
def network(databases: Databases) -> Network:
    made = Network(databases)
    made.create()
    return made


@pytest.fixture(scope="module")
def received() -> Received:
    """What a fleet of 14 servers sends in 12 days."""
    return random_fleet(4, days=DAYS, servers=14)


def split(received: Received, share: float, days: range) -> tuple[Received, Received]:
    """What arrives in time, and what is late: a share of what is sent on these days."""
    rng = random.Random(7)
    late = [each for each in received if each[0] // DAY in days and rng.random() < share]
    return [each for each in received if each not in late], late


def truth(reports: list[Said], now: int = NOW) -> Series:
    """All that should be stored at the end."""
    return Oracle(reports, now).series(range(EPOCH, now // DAY))


def only_past(series: Series, now: int = NOW) -> Series:
    """The series without the open day, which a look computes too."""
    return {
        name: {key: fields for key, fields in points.items() if key[0] // DAY < now // DAY}
        for name, points in series.items()
    }


async def test_late_reports_change_every_number_that_depends_on_their_day(
    network: Network, state_dir: Path
) -> None:
    days, late_day = 40, EPOCH + 3
    now = (EPOCH + days) * DAY + 2 * HOUR
    received = random_fleet(11, days=days, servers=4)
    in_time, late = split(received, 0.7, range(late_day, late_day + 1))
    assert late
    network.lay_received(in_time)
    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(now)
        network.lay_received(late)

        # Its own day and the 30 whose windows hold it, no other; and the open one.
        assert await rollup.due(now) == [*range(late_day, late_day + 31)]
        await rollup.reconcile(now)

        assert not differences(only_past(network.series(), now), truth(said(received), now))
        assert not await rollup.due(now)


async def test_a_node_erased_by_hand_is_in_no_number_after_the_next_look(
    network: Network, state_dir: Path, received: Received
) -> None:
    network.lay_received(received)
    reports = said(received)
    node = reports[len(reports) // 2].nodes[0].number
    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(NOW)
        assert network.erase_node(node) > 2
        await rollup.reconcile(NOW)

    without = [report.without(node) for report in reports]
    assert not differences(only_past(network.series()), truth(without))


async def test_a_second_collector_that_is_a_day_late_makes_the_days_right(
    network: Network, tmp_path: Path, received: Received
) -> None:
    rng = random.Random(3)
    first, second = Received(), Received()
    for each in received:
        (first if rng.random() < 0.5 else second).append(each)
    writers = converter(instance=0), converter(instance=1)
    async with (
        network.rollup(tmp_path / "first") as one,
        network.rollup(tmp_path / "second") as other,
    ):
        for day in range(EPOCH, EPOCH + DAYS + 1):
            now = (day + 1) * DAY + 2 * HOUR
            network.lay(lines_of([e for e in first if e[0] // DAY == day], writers[0]))
            network.lay(lines_of([e for e in second if e[0] // DAY == day - 1], writers[1]))
            await (one if day % 2 else other).reconcile(now)
        now = NOW + DAY
        await one.reconcile(now)
        assert not differences(only_past(network.series(), now), truth(said(received), now))

        # The other one's state directory knows less, and comes to the same.
        await other.reconcile(now)
        assert not differences(only_past(network.series(), now), truth(said(received), now))
        assert not await one.due(now)
        assert not await other.due(now)


def lost(state: Path) -> None:
    shutil.rmtree(state / "rollup")


def cut(state: Path) -> None:
    for file in files(state):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flipped(state: Path) -> None:
    for file in files(state):
        content = bytearray(file.read_bytes())
        content[len(content) // 3] ^= 0x55
        file.write_bytes(content)


def emptied(state: Path) -> None:
    for file in files(state):
        file.write_bytes(b"")


def other_json(state: Path) -> None:
    for file in files(state):
        file.write_text('{"k": 1, "counts": [3], "count": 2}')


def swapped(state: Path) -> None:
    """One day's frames in the place of another's."""
    folders = sorted(path for path in (state / "rollup").iterdir() if path.is_dir())
    for folder, other in zip(folders[::2], folders[1::2], strict=False):
        for file in other.glob("*.parquet"):
            shutil.copy(file, folder / file.name)


def in_the_way(state: Path) -> None:
    """A file where the directory would be: nothing can be read or kept."""
    shutil.rmtree(state / "rollup")
    (state / "rollup").write_text("no directory\n")


def files(state: Path) -> list[Path]:
    return [path for path in (state / "rollup").rglob("*") if path.is_file()]


HARMS = (lost, cut, flipped, emptied, other_json, swapped, in_the_way)
"""In this order, since the last leaves no directory."""


async def test_a_lost_or_damaged_cache_costs_time_and_no_number(
    network: Network, state_dir: Path, received: Received
) -> None:
    in_time, late = split(received, 0.9, range(EPOCH + 5, EPOCH + 6))
    network.lay_received(in_time)
    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(NOW)
        there = in_time
        for number, harm in enumerate(HARMS):
            assert files(state_dir)
            harm(state_dir)
            # So that the cached facts of the other days are asked for.
            more = late[number :: len(HARMS)]
            assert more
            network.lay_received(more)
            await rollup.reconcile(NOW)
            there = sorted([*there, *more])
            assert not differences(only_past(network.series()), truth(said(there))), harm.__name__


async def test_a_greater_k_removes_what_the_smaller_one_showed(
    network: Network, state_dir: Path, received: Received
) -> None:
    network.lay_received(received)
    async with network.rollup(state_dir, k=1) as rollup:
        await rollup.reconcile(NOW)
    exact = truth(said(received))
    assert not differences(only_past(network.series()), exact)

    async with network.rollup(state_dir, k=5) as rollup:
        await rollup.reconcile(NOW)

    found = only_past(network.series())
    assert not unsafe(found, exact, 5)
    assert sum(map(len, found.values())) < sum(map(len, exact.values())) / 2


async def test_points_and_fields_that_the_day_does_not_have_are_removed(
    network: Network, state_dir: Path, received: Received
) -> None:
    network.lay_received(received)
    day = EPOCH + 4
    time = day * DAY
    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(NOW)
        network.publish(
            [
                "daily_nodes,dimension=arch,value=it\\'s\\ a\\,vax,within=all,within_value=all"
                f" nodes=3i {time}",
                "daily_servers,dimension=arch,value=vax,within=all,within_value=all"
                f" servers=3i {time}",
                f'daily_packages,package=a"b,version=1\\ 2 servers=9i {time}',
                f"daily_upgrades,from_version=a,to_version=b nodes=9i {time}",
                f"hourly_usage reports=9i {time + HOUR // 2}",
                f"daily_usage earlier=9i {time}",
            ]
        )
        await rollup.roll([day], NOW)

    assert not differences(only_past(network.series()), truth(said(received)))


async def test_point_with_a_tag_of_another_version_is_told_apart_and_removed(
    network: Network, state_dir: Path
) -> None:
    span = Span(DAY, DAY + 1)
    tags: Tags = (("package", "a"), ("version", "1"))
    points: Points = {(DAY, tags): {"servers": 9, "final": 1}}
    other = "daily_packages,earlier=x,package=a,version=1 servers=3i"
    network.publish([f"daily_packages,package=a,version=1 servers=9i,final=1i {DAY}"])
    async with network.rollup(state_dir) as rollup:
        assert await stored_points(rollup.influx, DAILY_PACKAGES, span) == points
        network.publish([f"{other} {DAY}"])
        found = await stored_points(rollup.influx, DAILY_PACKAGES, span)
        assert found == points | {(DAY, (("earlier", "x"), *tags)): {"servers": 3}}
        await store(rollup.influx, DAILY_PACKAGES, points, span)
        assert await stored_points(rollup.influx, DAILY_PACKAGES, span) == points


async def test_a_final_day_that_would_lose_over_a_fifth_stays_until_forced(
    network: Network, state_dir: Path, received: Received
) -> None:
    day, metrics = EPOCH + 6, Metrics()
    kept, gone = split(received, 0.5, range(day, day + 1))
    network.lay_received(received)
    server, raw = network.databases.server, network.databases.raw
    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(NOW)
        for measurement in ("server_report", "node_report"):
            for at, _ in gone:
                where = f"time >= {at // 1000 * 1000} AND time < {at + 100_000}"
                server.query(f"DELETE FROM {measurement} WHERE {where}", raw)
        before = network.series()["daily_usage"][day * DAY, ()]

        await rollup.reconcile(NOW, metrics)
        assert metrics.registry.get_sample_value("collector_rollup_days_refused") == 1
        assert network.series()["daily_usage"][day * DAY, ()] == before

        [forced] = await rollup.roll([day], NOW, force=True)
        assert forced.outcome is Outcome.WRITTEN
        await rollup.reconcile(NOW)
        assert not differences(only_past(network.series()), truth(said(kept)))


async def test_a_refused_day_that_was_mended_elsewhere_is_told_no_longer(
    network: Network, state_dir: Path, received: Received
) -> None:
    network.lay_received(received)
    server, raw = network.databases.server, network.databases.raw
    day = EPOCH + 6
    where = f"time >= {day * DAY} AND time < {(day + 1) * DAY}"
    async with network.rollup(state_dir) as rollup:
        metrics = Metrics()
        schedule = rollup.schedule(lambda: NOW, metrics)
        assert await schedule.once()
        server.query(f"DELETE FROM server_report WHERE {where}", raw)
        assert await schedule.once()
        assert metrics.registry.get_sample_value("collector_rollup_days_refused") == 1

        await rollup.roll([day], NOW, force=True)
        assert await schedule.once()
        assert metrics.registry.get_sample_value("collector_rollup_days_refused") == 0


async def test_a_first_day_that_lost_all_of_its_reports_is_refused_then_removed(
    network: Network, state_dir: Path, received: Received
) -> None:
    network.lay_received(received)
    server, raw = network.databases.server, network.databases.raw
    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(NOW)
        for measurement in ("server_report", "node_report"):
            server.query(f"DELETE FROM {measurement} WHERE time < {(EPOCH + 1) * DAY}", raw)

        [result] = await rollup.roll([EPOCH], NOW)
        assert result.outcome is Outcome.REFUSED
        # What lies before the oldest report may have expired: nothing tells but the command.
        first, *_ = await rollup.roll(AFTER_ALL, NOW, force=True)
        assert first.outcome is Outcome.EMPTY

    rest = [report for report in said(received) if report.day > EPOCH]
    expected = Oracle(rest, NOW).series(range(EPOCH + 1, EPOCH + DAYS))
    assert not differences(only_past(network.series()), expected)
