"""Leases in a real NATS: one publisher at work, and a lock of the rollup that machines share."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NoReturn

import pytest
from aiohttp import web

from collector.jetstream.leases import Keeper, LeasedLock, publisher_lease, rollup_lock
from collector.settings import Settings
from collector.state import LockBusy, NotHeld, SharedLock
from tests.command import command
from tests.conftest import Databases, Serve, StartServe
from tests.faulty import FaultyProxy
from tests.owners import DAYS_BACK, lay_past
from tests.sender import GUARD_S, eventually, get, metric, until
from tools.nats import NatsCluster, NatsServer

DAY_POINT = re.compile(rb"^(daily|hourly)_", re.MULTILINE)


def settings_for(
    server: NatsServer | NatsCluster, *, lease: int = 2, replicas: int = 1
) -> Settings:
    return Settings(
        nats_url=server.urls.split(","), nats_replicas=replicas, lease=lease, nats_stream="usage"
    )


@asynccontextmanager
async def keeping(settings: Settings, work: str) -> AsyncIterator[Keeper]:
    """A keeper of the publisher's lease that runs from entry to exit."""
    async with publisher_lease(settings, work) as keeper:
        running = asyncio.create_task(keeper.run())
        try:
            yield keeper
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_one_holds_and_another_takes_over_at_once_when_it_is_released(
    nats_server: NatsServer,
) -> None:
    settings = settings_for(nats_server)
    async with keeping(settings, "publish") as second:
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(keeping(settings, "serve"))
            both = (first, second)
            await until(lambda: any(keeper.holds for keeper in both))
            one, other = sorted(both, key=lambda keeper: not keeper.holds)
            one.check()
            with pytest.raises(NotHeld):
                other.check()
            await until(lambda: " on " in other.holder)
        await second.won()
        with pytest.raises(NotHeld):
            first.check()


async def test_of_three_servers_one_may_end_and_the_lease_is_kept(
    nats_cluster: NatsCluster,
) -> None:
    settings = settings_for(nats_cluster, lease=6, replicas=3)
    async with keeping(settings, "publish") as keeper:
        await keeper.won()
        nats_cluster.servers[0].kill()
        nats_cluster.servers[0].start()
        # Whoever was connected to it is connected to another one by the next renewal.
        await until(lambda: not keeper.why)
        await keeper.won()


async def test_without_nats_the_lease_ends_and_afterwards_it_has_one_holder_again(
    nats_server: NatsServer,
) -> None:
    settings = settings_for(nats_server)
    async with keeping(settings, "a") as first, keeping(settings, "b") as second:
        both = (first, second)
        await until(lambda: any(keeper.holds for keeper in both))
        for wiped in (False, True):
            nats_server.kill()
            await until(lambda: not any(keeper.holds for keeper in both))
            await until(lambda: all(keeper.why for keeper in both))
            if wiped:
                nats_server.wipe()
            nats_server.start()
            await until(lambda: any(keeper.holds for keeper in both))
            assert not all(keeper.holds for keeper in both)


def lock_of(
    settings: Settings, directory: Path, work: str
) -> AbstractAsyncContextManager[LeasedLock]:
    directory.mkdir(exist_ok=True)
    return rollup_lock(settings, SharedLock(directory / "rollup.lock"), work, pause_s=0.0)


async def test_the_lock_is_shared_by_machines_and_says_who_holds_it(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with lock_of(settings_for(nats_server), tmp_path / "first", "serve") as first, first:
        # The first holder of all waits as long as a lease; those after it get what is free.
        pass
    # A machine that stands still loses a short lease.
    settings = settings_for(nats_server, lease=60)
    told: list[None] = []
    async with (
        lock_of(settings, tmp_path / "a", "receive") as ours,
        lock_of(settings, tmp_path / "b", "publish") as theirs,
    ):
        with pytest.raises(NotHeld):
            ours.check()
        async with ours:
            ours.check()
            with pytest.raises(LockBusy, match=r"held by receive on .+ \(process \d+, "):
                async with theirs.held(limit_s=2, busy=lambda: told.append(None)):
                    raise AssertionError
            assert told
            assert theirs.holder.startswith("receive on ")
        async with theirs.held(limit_s=GUARD_S):
            theirs.check()
    nats_server.kill()
    async with lock_of(settings_for(nats_server), tmp_path / "a", "receive") as ours:
        with pytest.raises(NotHeld, match="cannot be had"):
            async with ours:
                raise AssertionError


async def checked_for_ever(lock: LeasedLock) -> NoReturn:
    while True:
        lock.check()
        await asyncio.sleep(0.1)


async def test_lock_that_cannot_be_renewed_is_lost_and_another_machine_gets_it(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    settings = settings_for(nats_server)
    async with (
        lock_of(settings, tmp_path / "a", "receive") as ours,
        lock_of(settings, tmp_path / "b", "publish") as theirs,
    ):
        async with ours:
            nats_server.kill()
            # It is lost before it ends; whoever does not look again would not notice.
            with pytest.raises(NotHeld):
                await checked_for_ever(ours)
        # Its holder has stopped, and could not free it.
        nats_server.start()
        while True:
            try:
                async with theirs:
                    theirs.check()
                break
            except NotHeld:
                await asyncio.sleep(0.1)


@dataclass
class Watched(FaultyProxy):
    """A proxy that notes each write to the published days, and can keep a reply back."""

    name: str = ""
    journal: list[str] = field(default_factory=list)
    keeps_back: bool = False
    kept: asyncio.Event = field(default_factory=asyncio.Event)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.fault = Watched._write

    @staticmethod
    async def _write(proxy: FaultyProxy, request: web.Request, body: bytes) -> web.StreamResponse:
        """Keep the reply back after which a day has its tables and does not have its numbers."""
        assert isinstance(proxy, Watched)
        waits = proxy.keeps_back and not proxy.goes_on.is_set()
        if waits and body.startswith(b"daily_usage"):
            return web.json_response({"error": "injected"}, status=503)
        tables = DAY_POINT.search(body)
        if tables:
            proxy.journal.append(proxy.name)
        answer = await proxy.forward(request, body)
        if waits and tables:
            proxy.kept.set()
            await proxy.goes_on.wait()
        return answer


def leads(collector: Serve) -> bool:
    return metric(collector.metrics_url, "collector_publisher_leads") == 1


def days_of(databases: Databases) -> int:
    return len(databases.server.query("SELECT final FROM daily_usage", databases.daily))


@pytest.mark.timeout(300)
async def test_a_publisher_that_was_stopped_in_the_middle_of_a_day_writes_no_more_of_it(
    databases: Databases, nats_server: NatsServer, serve: StartServe, tmp_path: Path
) -> None:
    lay_past(databases)
    journal: list[str] = []
    async with AsyncExitStack() as stack:
        proxies, publishers = {}, {}

        async def publish(name: str, *, keeps_back: bool = False) -> Serve:
            proxy = Watched(databases.server.url, name=name, journal=journal, keeps_back=keeps_back)
            proxies[name] = await stack.enter_async_context(proxy.open())
            settings = databases.environment | {
                "COLLECTOR_INFLUX_URL": proxy.url,
                "COLLECTOR_STATE_DIR": str(tmp_path / name),
                "COLLECTOR_K_ANONYMITY": "1",
                "COLLECTOR_NATS_URL": nats_server.url,
                "COLLECTOR_NATS_REPLICAS": "1",
                "COLLECTOR_LEASE": "5s",
            }
            publishers[name] = await asyncio.to_thread(partial(serve, settings, role="publish"))
            return publishers[name]

        async def holds(of: Callable[[], bool]) -> None:
            # The proxies answer in this process.
            await asyncio.to_thread(eventually, of)

        first = await publish("a", keeps_back=True)
        await proxies["a"].kept.wait()
        second = await publish("b")
        # If a busy machine makes the first one lose its lease, the second one is at work at once.
        await holds(lambda: "this publisher is " in second.logs())
        assert (await asyncio.to_thread(get, second.url, "/v1/freshness.json")).status == 200

        first.process.send_signal(signal.SIGSTOP)
        await holds(lambda: leads(second))
        await holds(lambda: days_of(databases) == DAYS_BACK + 1)
        proxies["a"].goes_on.set()
        first.process.send_signal(signal.SIGCONT)
        await holds(lambda: "the work on the series is interrupted" in first.logs())
        await holds(lambda: "this publisher is on standby" in first.logs())
        written_in_turn(journal, publishers)

        # Whoever ends frees the lease, and needs no time to be missed.
        assert await asyncio.to_thread(second.terminate) == 0
        await holds(lambda: leads(first))
        again = ("rollup", "--from", "yesterday")
        done = await asyncio.to_thread(command, first.environment, *again)
        assert done.code == 0, done.err
        await asyncio.to_thread(nats_server.kill)
        await holds(lambda: not leads(first))
        done = await asyncio.to_thread(command, first.environment, *again)
        assert (done.code, "cannot be had" in done.err) == (1, True)
        assert (await asyncio.to_thread(get, first.url, "/v1/freshness.json")).status == 200
        await asyncio.to_thread(nats_server.start)
        await holds(lambda: leads(first))


def written_in_turn(journal: list[str], publishers: Mapping[str, Serve]) -> None:
    """Check that whoever writes after another has won the lease since."""
    won = sum(each.logs().count("this publisher is at work") for each in publishers.values())
    writers = [name for name, _ in groupby(journal)]
    assert writers[:2] == ["a", "b"]
    assert len(writers) <= won
