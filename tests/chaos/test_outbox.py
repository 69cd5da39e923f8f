"""The outbox's file damaged under load: the service goes on, and what is whole is recovered."""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.outbox import OutboxFile
from tests.command import command
from tests.conftest import Databases, Serve, StartServe
from tests.ledger import Ledger, delivered, settled
from tests.length import repeat, seed
from tests.sender import eventually, metric, until
from tools.embedded import EmbeddedInflux

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

SEED = 20_241_122
ROUNDS = repeat(1, 5)
WAITING = 1500
NOBODY = 65_534
ROOT = os.geteuid() == 0


def truncated(path: Path, _chance: random.Random) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def flipped(path: Path, chance: random.Random) -> None:
    """Sixteen bits of the file, anywhere behind its first pages."""
    content = bytearray(path.read_bytes())
    for at in chance.sample(range(3 * 4096, len(content)), 16):
        content[at] ^= 1 << chance.randrange(8)
    with path.open("r+b") as file:
        file.write(content)


def junked(path: Path, chance: random.Random) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(chance.randbytes(size))


CASES = [(flipped, "bit-flipped"), (truncated, "truncated"), (junked, "replaced by junk")]
DAMAGES = pytest.mark.parametrize(("damage", "words"), CASES[: repeat(1, 3)])
Damage = Callable[[Path, random.Random], None]


def outbox_of(collector: Serve) -> Path:
    return collector.state_dir / "outbox.sqlite3"


async def recovered(collector: Serve) -> int:
    """How many reports `collector outbox recover` says are lost."""
    done = await asyncio.to_thread(command, collector.environment, "outbox", "recover", "--all")
    assert done.code == 0, done.err
    return sum(int(count) for count in re.findall(r"; (\d+) reports lost", done.out))


@DAMAGES
async def test_outbox_damaged_while_serving_stops_nothing(
    databases: Databases, serve: StartServe, damage: Damage, words: str
) -> None:
    """InfluxDB takes what comes, so that what is waiting is little; nobody is refused."""
    chance = random.Random(seed(SEED))
    collector = await asyncio.to_thread(serve, databases.environment)
    ledger = Ledger(collector.url)
    ended = 0.0
    for _ in range(ROUNDS):
        await ledger.send_all(300)
        # An orderly stop puts the log into the file, so that it is the file that is damaged.
        assert await asyncio.to_thread(collector.terminate) == 0
        await asyncio.to_thread(damage, outbox_of(collector), chance)
        collector = await asyncio.to_thread(serve, collector.environment)
        async with ledger.sending():
            await ledger.more(50)
            await recovered(collector)
            ended = time.monotonic()
            await ledger.more(50)
    await delivered(databases, collector, ledger.acknowledged)
    await settled(
        ledger,
        databases,
        collector,
        fault=f"outbox {words}, all of it delivered before",
        rounds=ROUNDS,
        ended=ended,
    )
    assert ledger.refused == set()


@DAMAGES
async def test_reports_waiting_in_a_damaged_outbox_are_recovered_or_told_lost(
    own_influx: EmbeddedInflux,
    own_databases: Databases,
    serve: StartServe,
    damage: Damage,
    words: str,
) -> None:
    """InfluxDB is away: what the damaged part held is nowhere else, and is counted."""
    chance = random.Random(seed(SEED))
    collector = await asyncio.to_thread(serve, own_databases.environment)
    own_influx.terminate()
    ledger = Ledger(collector.url)
    await ledger.send_all(WAITING)
    collector.kill()
    await asyncio.to_thread(fold, outbox_of(collector))
    await asyncio.to_thread(damage, outbox_of(collector), chance)
    collector = await asyncio.to_thread(serve, collector.environment)
    async with ledger.sending():
        await ledger.more(50)
        own_influx.start()
        await until(lambda: metric(collector.metrics_url, "collector_outboxes_set_aside") == 1)
        ended = time.monotonic()
        told = await recovered(collector)
        await ledger.more(50)
    # Of junk it cannot be told how much it was.
    most = WAITING if damage is junked else told
    row = await settled(
        ledger,
        own_databases,
        collector,
        fault=f"outbox {words}, {WAITING} reports waiting in it alone, then `outbox recover`",
        rounds=1,
        ended=ended,
        told_lost=max(1, most),
    )
    assert row.lost == most
    assert row.refused == row.unanswered == 0
    assert "reason=set-aside" in collector.logs()
    if damage is flipped:
        assert row.lost < WAITING / 5


@pytest.mark.parametrize(("damage", "words"), CASES[1 : repeat(2, 3)])
async def test_outbox_damaged_under_a_running_collector_refuses_nobody(
    own_influx: EmbeddedInflux,
    own_databases: Databases,
    serve: StartServe,
    damage: Damage,
    words: str,
) -> None:
    """The writer finds it when InfluxDB is back.

    The process still has the newest 2 MB of its file in memory, more than what waits here, and puts
    it into the new outbox.
    """
    collector = await asyncio.to_thread(serve, own_databases.environment)
    pid = collector.process.pid
    own_influx.terminate()
    ledger = Ledger(collector.url)
    await ledger.send_all(WAITING)
    await asyncio.to_thread(damage, outbox_of(collector), random.Random(seed(SEED)))
    async with ledger.sending():
        await ledger.more(20)
        own_influx.start()
        await until(lambda: metric(collector.metrics_url, "collector_outboxes_set_aside") == 1)
        ended = time.monotonic()
        assert await recovered(collector) == 0
        await ledger.more(50)
    row = await settled(
        ledger,
        own_databases,
        collector,
        fault=f"outbox {words} while in use, {WAITING} reports waiting in it alone, then"
        " `outbox recover`",
        rounds=1,
        ended=ended,
    )
    assert row.refused == row.unanswered == 0
    assert collector.process.pid == pid
    assert collector.running


def fold(path: Path) -> None:
    """The log into the file, so that it is the file that is damaged."""
    with OutboxFile(path):
        pass


async def test_outbox_of_another_user_is_set_aside(databases: Databases, serve: StartServe) -> None:
    # Root may read everything but for these capabilities.
    under = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if ROOT else []
    collector = await asyncio.to_thread(serve, databases.environment, under=under)
    ledger = Ledger(collector.url)
    await ledger.send_all(300)
    assert await asyncio.to_thread(collector.terminate) == 0
    path = outbox_of(collector)
    path.chmod(0o600 if ROOT else 0)
    if ROOT:
        os.chown(path, NOBODY, NOBODY)
    collector = await asyncio.to_thread(serve, collector.environment, under=under)
    assert metric(collector.metrics_url, "collector_outboxes_set_aside") == 1
    assert "no permission to read and write outbox.sqlite3" in collector.logs()
    async with ledger.sending():
        await ledger.more(50)
    (aside,) = collector.state_dir.glob("*.damaged-*")
    aside.chmod(0o600)
    assert await recovered(collector) == 0
    row = await settled(
        ledger,
        databases,
        collector,
        fault="outbox owned by another user, then `outbox recover`",
        rounds=1,
        ended=time.monotonic(),
    )
    assert row.refused == row.unanswered == 0
    eventually(lambda: metric(collector.metrics_url, "collector_outboxes_set_aside") == 0)
