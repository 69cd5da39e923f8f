"""Disk full, descriptors spent, a clock that jumps: what is acknowledged is stored all the same."""

from __future__ import annotations

import asyncio
import random
import resource
import time
from pathlib import Path

import pytest

from tests.conftest import Databases, MachineClock, StartServe
from tests.disks import fill
from tests.ledger import Ledger, settled
from tests.length import repeat, seed
from tests.sender import metric, until
from tools.embedded import EmbeddedInflux

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

ROUNDS = repeat(1, 5)
JUMPS = repeat(2, 10)
SEED = 20_241_122
HOUR = 3600
CONNECTIONS = 300


async def refused(ledger: Ledger, count: int) -> None:
    """Until so many more are refused."""
    wanted = len(ledger.refused) + count
    await until(lambda: len(ledger.refused) >= wanted)


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_reports_acked_while_the_disk_fills_and_is_freed_are_all_there_once(
    own_influx: EmbeddedInflux, own_databases: Databases, serve: StartServe, small_disk: Path
) -> None:
    settings = own_databases.environment | {"COLLECTOR_STATE_DIR": str(small_disk / "state")}
    collector = await asyncio.to_thread(serve, settings)
    ledger = Ledger(collector.url)
    ended = 0.0
    async with ledger.sending():
        for _ in range(ROUNDS):
            await ledger.more(50)
            own_influx.terminate()
            await asyncio.to_thread(fill, small_disk / "filler")
            await refused(ledger, 20)
            (small_disk / "filler").unlink()
            own_influx.start()
            ended = time.monotonic()
            await ledger.more(50)
    row = await settled(
        ledger,
        own_databases,
        collector,
        fault="disk full to the last byte, and freed",
        rounds=ROUNDS,
        ended=ended,
    )
    assert row.refused >= 20
    assert row.unanswered == 0


async def test_reports_acked_while_descriptors_run_out_are_all_there_once(
    databases: Databases, serve: StartServe
) -> None:
    collector = await asyncio.to_thread(serve, databases.environment)
    ledger = Ledger(collector.url)
    pid = collector.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    ended = 0.0
    host, port = collector.environment["COLLECTOR_LISTEN"].split(":")
    async with ledger.sending():
        for _ in range(ROUNDS):
            await ledger.more(50)
            most = open_files(pid) + 5
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))
            idle = [
                opened
                for opened in await asyncio.gather(
                    *(asyncio.open_connection(host, int(port)) for _ in range(CONNECTIONS)),
                    return_exceptions=True,
                )
                if not isinstance(opened, BaseException)
            ]
            await until(lambda: open_files(pid) >= most - 1)  # noqa: B023 - of this round
            await asyncio.sleep(2)
            for _, writer in idle:
                writer.close()
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
            ended = time.monotonic()
            await ledger.more(50)
    await settled(
        ledger,
        databases,
        collector,
        fault=f"file descriptors spent by {CONNECTIONS} connections",
        rounds=ROUNDS,
        ended=ended,
    )
    assert collector.running


async def test_reports_acked_while_the_clock_jumps_are_all_there_once(
    databases: Databases, serve: StartServe, machine_clock: MachineClock
) -> None:
    chance = random.Random(seed(SEED))
    collector = await asyncio.to_thread(serve, databases.environment | machine_clock.environment)
    ledger = Ledger(collector.url)
    jumps = [chance.choice((-HOUR, HOUR)) for _ in range(JUMPS - 2)]
    async with ledger.sending():
        for jump in (HOUR, -HOUR, *jumps):
            await ledger.more(30)
            machine_clock.set(jump)
            # A restart must not forget which timestamps were given.
            if chance.random() < 0.5:
                collector.kill()
                collector = await asyncio.to_thread(serve, collector.environment)
            await ledger.more(30)
        ended = time.monotonic()
    await settled(
        ledger,
        databases,
        collector,
        fault="clock jumps an hour forth and back",
        rounds=2 + len(jumps),
        ended=ended,
        clocks=(0, HOUR, -HOUR),
    )
    rows = databases.server.query("SELECT node FROM node_report", databases.raw)
    ahead = [row for row in rows if row["time"] > (time.time() + HOUR / 2) * 1e9]
    assert ahead, "the clock did not jump"
    dead = await asyncio.to_thread(metric, collector.metrics_url, "collector_dead_letters")
    assert dead == 0
