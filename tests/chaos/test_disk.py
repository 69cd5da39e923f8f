"""Disk full, descriptors spent, a clock that jumps: what is acknowledged is stored all the same."""

from __future__ import annotations

import asyncio
import random
import resource
import time
from pathlib import Path

import pytest

from tests.conftest import Databases, StartServe
from tests.disks import fill
from tests.ledger import Ledger, settled
from tests.length import repeat, seed
from tests.sender import metric, until
from tools.embedded import EmbeddedInflux

ROUNDS = repeat(1, 5)
JUMPS = repeat(2, 10)
SEED = 20_241_122
HOUR = 3600
CONNECTIONS = 300


async def refused(ledger: Ledger, count: int) -> None:
    """Until so many more are refused."""
    wanted = len(ledger.refused) + count
    await until(lambda: len(ledger.refused) >= wanted, within=30)


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
    assert row.refused > 20
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


@pytest.fixture
def faketime() -> Path:
    """Debian's library that sets the clock of one process; `make dev` has seen to it."""
    root = Path(__file__).parents[2] / ".local" / "libfaketime"
    found = sorted(root.glob("usr/lib/*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("there is no libfaketime")
    return found[0]


async def test_reports_acked_while_the_clock_jumps_are_all_there_once(
    databases: Databases, serve: StartServe, faketime: Path, tmp_path: Path
) -> None:
    chance = random.Random(seed(SEED))
    clock = tmp_path / "clock"
    clock.write_text("+0")
    collector = await asyncio.to_thread(
        serve,
        databases.environment
        | {
            "LD_PRELOAD": str(faketime),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            # A clock that is set moves no monotonic one.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        },
    )
    ledger = Ledger(collector.url)
    jumps = [chance.choice((-HOUR, HOUR)) for _ in range(JUMPS - 2)]
    async with ledger.sending():
        for jump in (HOUR, -HOUR, *jumps):
            await ledger.more(30)
            clock.write_text(f"{jump:+d}")
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
    )
    rows = databases.server.query("SELECT node FROM node_report", databases.raw)
    ahead = [row for row in rows if row["time"] > (time.time() + HOUR / 2) * 1e9]
    assert ahead, "the clock did not jump"
    dead = await asyncio.to_thread(metric, collector.metrics_url, "collector_dead_letters")
    assert dead == 0
