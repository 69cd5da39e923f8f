from __future__ import annotations

import asyncio
import contextlib

import pytest
import structlog

from collector.metrics import Metrics
from collector.supervisor import CannotWork, Patience, Supervisor, together

HASTY = Patience(first_s=0.01, most_s=0.02, steady_s=60, give_up_s=60, look_s=0.01)


class Loop:
    """Fails so many times, then runs until cancelled or stopped."""

    def __init__(self, fails: float) -> None:
        self.fails = fails
        self.started = 0
        self.runs = asyncio.Event()
        self.stopped = asyncio.Event()

    async def run(self) -> None:
        self.started += 1
        if self.started <= self.fails:
            raise ZeroDivisionError("with words of a stranger's")
        self.runs.set()
        await self.stopped.wait()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture(autouse=True)
def no_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no supervisor that gives up end the process of the tests, a minute after its test."""
    monkeypatch.setattr("collector.supervisor._LAST_RESORT_S", 365 * 86_400.0)


async def test_loop_that_fails_is_counted_logged_by_its_place_and_started_again(
    metrics: Metrics,
) -> None:
    supervisor, loop, other = Supervisor(metrics, HASTY), Loop(3), Loop(0)
    with structlog.testing.capture_logs() as logs:
        async with supervisor.loop("frail", loop.run), supervisor.loop("other", other.run):
            await loop.runs.wait()
            assert supervisor.failing == []
    assert (loop.started, other.started) == (4, 1)
    count = metrics.registry.get_sample_value("collector_loop_failures_total", {"loop": "frail"})
    assert count == 3
    assert [entry["loop"] for entry in logs] == ["frail"] * 3
    assert "ZeroDivisionError in run:" in logs[0]["why"]
    assert "stranger" not in str(logs)
    assert supervisor.broken is None


async def test_loop_that_waits_to_be_started_again_is_named(metrics: Metrics) -> None:
    supervisor, loop = Supervisor(metrics, Patience(first_s=3600)), Loop(1)
    async with supervisor.loop("frail", loop.run):
        while not supervisor.failing:  # noqa: ASYNC110 - it sets no event
            await asyncio.sleep(0)
        assert supervisor.failing == ["frail"]
    assert loop.started == 1


async def test_loop_with_a_stop_is_asked_and_not_cancelled(metrics: Metrics) -> None:
    supervisor, loop = Supervisor(metrics, HASTY), Loop(0)
    async with supervisor.loop("writer", loop.run, stop=loop.stopped.set):
        await loop.runs.wait()
    assert loop.started == 1
    # One that is in its pause is not waited for.
    broken = Loop(1)
    async with supervisor.loop("writer", broken.run, stop=lambda: None):
        pass


async def test_loop_that_returns_has_done_its_work(metrics: Metrics) -> None:
    loop = Loop(0)
    loop.stopped.set()
    async with Supervisor(metrics, HASTY).loop("once", loop.run):
        await loop.runs.wait()
        await asyncio.sleep(0.05)
    assert loop.started == 1


async def test_vital_loop_that_keeps_failing_makes_the_process_useless(metrics: Metrics) -> None:
    hasty = Patience(first_s=0.01, most_s=0.01, give_up_s=0.05)
    supervisor = Supervisor(metrics, hasty)
    async with supervisor.loop("vital", Loop(float("inf")).run):
        with pytest.raises(CannotWork, match="loop vital keeps failing"):
            await supervisor.wait(asyncio.Event())
    spared = Supervisor(metrics, hasty)
    loop = Loop(30)
    async with spared.loop("extra", loop.run, vital=False):
        await loop.runs.wait()
    assert spared.broken is None


async def test_loop_that_ran_steadily_begins_with_the_first_pause_again(metrics: Metrics) -> None:
    supervisor, loop = Supervisor(metrics, Patience(0.001, 0.002, 0.0, 0.05)), Loop(200)
    async with supervisor.loop("frail", loop.run):
        await loop.runs.wait()
    assert supervisor.broken is None


async def test_thread_that_has_ended_makes_the_process_useless(metrics: Metrics) -> None:
    supervisor = Supervisor(metrics, HASTY)
    alive = True
    async with supervisor.thread("outbox", lambda: alive):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await supervisor.wait(asyncio.Event())
        assert supervisor.broken is None
        alive = False
        with pytest.raises(CannotWork, match="thread outbox has ended"):
            await supervisor.wait(asyncio.Event())


async def test_stop_ends_the_wait_without_an_error(metrics: Metrics) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, stop.set)
    await Supervisor(metrics, HASTY).wait(stop)


async def test_loops_together_end_together(metrics: Metrics) -> None:
    steady, frail = Loop(0), Loop(1)
    with pytest.raises(ExceptionGroup):
        await together(steady.run(), frail.run())
    supervisor = Supervisor(metrics, HASTY)
    with structlog.testing.capture_logs() as logs:
        both = Loop(1), Loop(0)
        async with supervisor.loop("both", lambda: together(*(one.run() for one in both))):
            await both[0].runs.wait()
    assert "ZeroDivisionError in run:" in logs[0]["why"]


def test_pause_doubles_up_to_the_most() -> None:
    pauses = [Patience().pause(failures) for failures in (1, 2, 3, 6, 7, 100)]
    assert pauses == [1, 2, 4, 32, 60, 60]
