"""Whole processes that stop, die and start again: the series come out right all the same."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from aiohttp import web

from collector.intakes.asl.points import Accepted
from collector.outbox import FILE, OutboxFile
from tests.command import command
from tests.conftest import Databases, Serve, StartServe, clean_environment
from tests.faulty import FaultyProxy
from tests.fleets import Received, random_fleet
from tests.length import seeds
from tests.network import Network, converter, day_of, differences
from tests.oracle import DAY, Oracle, Series, said
from tests.sender import encoded, eventually, lay_key, metric, post, report

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

DAYS = 20


def today() -> int:
    return time.time_ns() // DAY


@pytest.fixture
def network(databases: Databases) -> Network:
    made = Network(databases)
    made.create()
    return made


@pytest.fixture
def environment(databases: Databases, state_dir: Path) -> dict[str, str]:
    lay_key(state_dir)
    return {
        **databases.environment,
        "COLLECTOR_STATE_DIR": str(state_dir),
        "COLLECTOR_K_ANONYMITY": "1",
    }


def past(received: Received) -> Series:
    """What should be stored of all days before today."""
    reports = said(received)
    oracle = Oracle(reports, time.time_ns())
    return oracle.series(range(reports[0].day, today()))


def stored(network: Network) -> Series:
    """What is stored of them."""
    return {
        name: {key: fields for key, fields in points.items() if key[0] // DAY < today()}
        for name, points in network.series().items()
    }


def caught_up(collector: Serve) -> Callable[[], bool]:
    """Whether its first look has ended well."""
    return lambda: bool(
        metric(collector.metrics_url, "collector_rollup_last_success_timestamp_seconds")
    )


def rolled_up(collector: Serve) -> list[date]:
    """The days that it says it has stored, in the order of its log."""
    lines = [line for line in collector.logs().splitlines() if "day rolled up" in line]
    return [
        date.fromisoformat(found[1]) for line in lines if (found := re.search(r"day=(\S+)", line))
    ]


async def test_missing_days_are_filled_at_start_oldest_first_while_posts_are_taken(
    network: Network, environment: dict[str, str], serve: StartServe
) -> None:
    received = random_fleet(51, days=DAYS, servers=6, first=today() - DAYS)
    network.lay_received(received)
    posted = False

    async def midway(proxy: FaultyProxy, request: web.Request, body: bytes) -> web.StreamResponse:
        """A fault that holds up the rows of the later days until all reports were posted."""
        proxy.met["rows"] += b"channel" in body
        while proxy.met["rows"] > DAYS and not posted:  # noqa: ASYNC110 - changed from outside
            await asyncio.sleep(0.02)
        return await proxy.forward(request, body)

    def told(proxy: FaultyProxy) -> Serve:
        nonlocal posted
        collector = serve(environment | {"COLLECTOR_INFLUX_URL": proxy.url})
        eventually(lambda: bool(rolled_up(collector)))
        answers = [post(collector.url, encoded(report([2000 + n]))).status for n in range(20)]
        assert set(answers) == {200}
        assert len(rolled_up(collector)) < DAYS
        posted = True
        eventually(caught_up(collector))
        return collector

    async with FaultyProxy(network.databases.server.url, query_fault=midway).open() as proxy:
        collector = await asyncio.to_thread(told, proxy)
        days = rolled_up(collector)
        await asyncio.to_thread(collector.terminate)
    assert days[:DAYS] == sorted(days[:DAYS])
    assert len(set(days)) >= DAYS
    assert not differences(stored(network), past(received))


def test_a_service_that_stood_still_for_a_week_fills_the_days_it_missed(
    network: Network, environment: dict[str, str], serve: StartServe
) -> None:
    received = random_fleet(52, days=DAYS, servers=6, first=today() - DAYS)
    cut = (today() - 7) * DAY
    network.lay_received([each for each in received if each[0] < cut])
    first = serve(environment)
    eventually(caught_up(first))
    first.terminate()
    # It was down, and another collector of the same InfluxDB took the reports.
    network.lay_received([each for each in received if each[0] >= cut])
    second = serve(environment)
    eventually(caught_up(second))

    assert not differences(stored(network), past(received))


@pytest.mark.parametrize("seed", seeds(1, 10))
def test_a_rollup_killed_at_any_moment_is_finished_by_the_next(
    network: Network, environment: dict[str, str], serve: StartServe, seed: int
) -> None:
    rng = random.Random(seed)
    received = random_fleet(53 + seed, days=DAYS, servers=6, first=today() - DAYS)
    network.lay_received(received)
    first = day_of(today() - DAYS).isoformat()
    arguments = ("rollup", "--from", first, "--to", "yesterday")
    kills = 0
    for attempt in range(3):
        # What an earlier k has left must go too.
        k = {"COLLECTOR_K_ANONYMITY": rng.choice(("1", "5"))}
        begun = time.time()
        process = subprocess.Popen(
            [sys.executable, "-m", "collector", *arguments],
            env=clean_environment() | environment | k,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(has_computed(environment, begun))
        # One of them at least is killed at its first day, however quick the machine is.
        time.sleep(rng.uniform(0, 1) if attempt else 0)
        if process.poll() is None:
            process.kill()
            kills += 1
        process.wait()
    assert kills

    if seed % 2:
        eventually(caught_up(serve(environment)))
    else:
        done = command(environment, *arguments, "--resume")
        assert done.code == 0, done.err
    assert not differences(stored(network), past(received))


def has_computed(environment: dict[str, str], since: float) -> Callable[[], bool]:
    """Whether a day has been computed since then."""
    state = Path(environment["COLLECTOR_STATE_DIR"])

    def computed() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return any(f.stat().st_mtime > since for f in state.glob("rollup/*.basis"))
        return False

    return computed


def test_a_collector_that_delivers_a_day_late_leaves_the_days_right(
    network: Network, environment: dict[str, str], serve: StartServe, tmp_path: Path
) -> None:
    received = random_fleet(57, days=6, servers=10, first=today() - 6)
    late = [each for each in received if each[0] // DAY == today() - 1][::2]
    network.lay_received([each for each in received if each not in late])
    first = serve(environment)
    eventually(caught_up(first))

    # The other one could not reach InfluxDB since yesterday.
    state = tmp_path / "other"
    lay_key(state)
    intake = converter(instance=1)
    with OutboxFile(state / FILE) as outbox, outbox.transaction():
        for at, body in late:
            outcome = intake.of(body, at)
            assert isinstance(outcome, Accepted)
            outbox.insert(outcome.entry)
    second = serve(environment | {"COLLECTOR_STATE_DIR": str(state), "COLLECTOR_INSTANCE": "1"})
    reports = len(said(received))
    server, raw = network.databases.server, network.databases.raw
    eventually(lambda: server.count(raw, "server_report", "nodes") == reports)
    second.terminate()
    first.terminate()
    eventually(caught_up(serve(environment)))

    assert not differences(stored(network), past(received))
