"""The AMI intake's flushes: none replaces another, and what cannot be stored is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from collector.intakes.ami import Ami
from collector.intakes.ami.actions import STATE
from collector.intakes.ami.intake import steady_clock
from collector.intakes.ami.state.state import State
from collector.intakes.intake import IntakeContext
from collector.intakes.live import TrueState
from collector.lines import Point, parse
from collector.metrics import Metrics
from collector.outbox import FILE, Outbox
from collector.schema import LIVE
from collector.settings import Settings
from collector.supervisor import Supervisor, Work
from tests.sender import GUARD_S, until
from tools.replay.ami_server import SECRET, USER, AmiServer

S = 10**9


@dataclass
class Around:
    """A context whose clock is set by hand, with an outbox of its own."""

    directory: Path
    outbox: Outbox
    file: str
    interval: int = 1
    now: int = 1_000 * S
    first: bool = True
    reads: int = 0
    metrics: Metrics = field(default_factory=Metrics)

    def context(self) -> IntakeContext:
        supervisor = Supervisor(self.metrics)

        def loop(name: str, work: Work) -> AbstractAsyncContextManager[None]:
            return supervisor.loop(name, work, vital=False)

        settings = Settings(asterisk_file=self.file, statsd_flush=self.interval, instance=7)
        parts = SimpleNamespace(
            settings=settings,
            is_first=self.first,
            outbox=self.outbox,
            clock=self.clock,
            metrics=self.metrics,
            loop=loop,
            true_state=TrueState(),
            on_reload=lambda _again: None,
        )
        return cast("IntakeContext", parts)

    def clock(self) -> int:
        self.reads += 1
        return self.now

    async def stored(self) -> list[Point]:
        entries = await self.outbox.read(max_lines=100_000)
        assert {(entry.target, entry.sender) for entry in entries} <= {(LIVE, "ami")}
        return [parse(line) for entry in entries for line in entry.lines.decode().split("\n")]

    async def has_stored(self, at: int) -> None:
        """Wait until points of a time are in the outbox."""
        async with asyncio.timeout(GUARD_S):
            while at not in times_of(await self.stored()):  # noqa: ASYNC110 - it sets no event
                await asyncio.sleep(0.02)

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def around(tmp_path: Path, *, most: int = 1 << 30) -> AsyncIterator[tuple[Around, AmiServer]]:
    metrics = Metrics()
    async with AmiServer().listening() as server:
        (tmp_path / "secret").write_text(SECRET)
        file = tmp_path / "asterisks.toml"
        file.write_text(
            f'[pbx]\nami = "127.0.0.1:{server.port}"\nami_user = "{USER}"\n'
            'ami_secret_file = "secret"\n[other]\nstatsd_from = "192.0.2.1"\n'
        )
        outbox = Outbox(tmp_path / FILE, max_bytes=most, keep_seconds=60, metrics=metrics)
        try:
            yield Around(tmp_path, outbox, str(file), metrics=metrics), server
        finally:
            await outbox.close()


def times_of(points: list[Point]) -> list[int]:
    return sorted({point.time for point in points})


async def test_flushes_have_the_times_of_the_grid_and_the_last_its_own(tmp_path: Path) -> None:
    async with around(tmp_path) as (it, server):
        async with Ami().open(it.context()) as intake:
            assert intake.routes() == []
            assert intake.fast_handlers() == {}
            assert intake.identify(b"{}") is None
            await until(lambda: server.asked[STATE[-1]] > 0)
            it.now += S * 9 // 10
            # The clock stands still: the loop wakes and finds no new time of the grid.
            reads = it.reads
            await until(lambda: it.reads > reads + 6)
            assert await it.stored() == []
            it.now += S
            await until(lambda: it.metric("collector_ami_connected", asterisk="pbx") == 1)
            await it.has_stored(1_001 * S + 7)
            assert times_of(await it.stored()) == [1_001 * S + 7]
            it.now = 1_001 * S + 123_456_789
        last = times_of(await it.stored())[-1]
        assert last == 1_001 * S + 123_456_007
        assert {point.tags["asterisk"] for point in await it.stored()} == {"pbx"}


async def test_points_that_the_outbox_takes_not_are_counted(tmp_path: Path) -> None:
    async with around(tmp_path, most=1) as (it, server):
        async with Ami().open(it.context()):
            await until(lambda: server.asked[STATE[-1]] > 0)
            it.now += S
            await until(lambda: it.metric("collector_ami_dropped_total", reason="unavailable") > 0)
        assert await it.stored() == []


async def test_only_the_first_worker_logs_in(tmp_path: Path) -> None:
    async with around(tmp_path) as (it, server):
        it.first = False
        async with Ami().open(it.context()):
            await asyncio.sleep(0)
        assert server.connections == 0


async def test_an_asterisk_whose_flush_fails_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: Callable[..., Any] = State.flush

    def fails(state: State, now_ns: int) -> list[Point]:
        if not failed:
            failed.append(now_ns)
            raise RuntimeError("4930123")
        return cast("list[Point]", whole(state, now_ns))

    failed: list[int] = []
    monkeypatch.setattr(State, "flush", fails)
    async with around(tmp_path) as (it, server), Ami().open(it.context()):
        await until(lambda: server.asked[STATE[-1]] > 0)
        it.now += S
        await until(lambda: it.metric("collector_ami_dropped_total", reason="failed") == 1)
        it.now += S
        await until(lambda: it.metric("collector_ami_connected", asterisk="pbx") == 1)
        await it.has_stored(1_002 * S + 7)


def test_the_steady_clock_does_not_follow_a_clock_that_is_set() -> None:
    now = [5_000 * S]
    steady = steady_clock(lambda: now[0])
    first = steady()
    now[0] = 0
    assert 5_000 * S <= first <= steady() < 5_100 * S
