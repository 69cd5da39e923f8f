"""Supervises the background loops of a process: restarts a failed one, after a growing pause.

If a loop keeps failing, or a thread that cannot be replaced has ended, only a new process helps:
this one ends with an error, and its service manager (systemd, a container's restart policy, the
parent of a worker) starts it again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog

from collector.backoff import backoff
from collector.logs import place
from collector.metrics import Metrics

log = structlog.get_logger("collector.supervisor")

_LAST_RESORT_S: Final = 60.0
"""Time for the cleanup of a process that can do no more work; after it, the process is killed."""

Work = Callable[[], Coroutine[Any, Any, None]]
"""A function that makes a loop's coroutine; it is called again after each failure."""


async def together(*loops: Coroutine[Any, Any, None]) -> None:
    """Run loops concurrently; if one fails, cancel the others and raise an exception group."""
    async with asyncio.TaskGroup() as group:
        for loop in loops:
            group.create_task(loop)


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a coroutine in the background; exit cancels it, and waits until it has ended."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def wait_at_most(seconds: float, event: asyncio.Event) -> None:
    """Wait until an event is set, or until the time is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def any_of(*events: asyncio.Event, at_most_s: float | None = None) -> None:
    """Wait until one of the events is set, or until the time is over."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=at_most_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def stop_event() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


class CannotWork(Exception):
    """The process can no longer work, or cannot begin to; the text names what has failed."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Times of the restart policy, in s.

    The pause before a restart is `first_s`, doubles with each failure in a row and is at most
    `most_s`. A loop that ran for `steady_s` has recovered: its next failure counts as the first. A
    loop that keeps failing for `give_up_s` ends the process. Threads are checked every `look_s`.
    """

    first_s: float = 1.0
    most_s: float = 60.0
    steady_s: float = 120.0
    give_up_s: float = 900.0
    look_s: float = 1.0

    def pause(self, failures: int) -> float:
        """The pause in s after failure number `failures` in a row, counted from 1."""
        return backoff(failures, first_s=self.first_s, most_s=self.most_s)


class Supervisor:
    """Runs and restarts the loops of one process."""

    def __init__(self, metrics: Metrics, patience: Patience | None = None) -> None:
        self._metrics = metrics
        self._patience = patience or Patience()
        self._failing: set[str] = set()
        self.broken: str | None = None
        """The reason why the process can no longer work, or None."""
        self._has_broken = asyncio.Event()

    @property
    def failing(self) -> list[str]:
        """Names of the loops that have failed and wait for a restart."""
        return sorted(self._failing)

    async def wait(self, stop: asyncio.Event) -> None:
        """Wait until `stop` is set. Raises CannotWork once the process can no longer work."""
        await any_of(stop, self._has_broken)
        if self.broken is not None and not stop.is_set():
            # The failed part may block the shutdown as well.
            timer = threading.Timer(_LAST_RESORT_S, os._exit, [1])
            timer.daemon = True
            timer.start()
            raise CannotWork(f"{self.broken}: this process ends, to be started again")

    @asynccontextmanager
    async def loop(
        self,
        name: str,
        work: Work,
        *,
        stop: Callable[[], None] | None = None,
        vital: bool = True,
    ) -> AsyncIterator[None]:
        """Run a loop in the background from entry to exit; a loop that returns is finished.

        At exit `stop` is called, or without it the loop is cancelled, and its end is awaited. The
        failures of a loop that is not `vital` never end the process.
        """
        ending = asyncio.Event()
        task = asyncio.create_task(self._keep(name, work, ending, vital=vital), name=name)
        try:
            yield
        finally:
            ending.set()
            if stop is None:
                task.cancel()
            else:
                stop()
            await asyncio.gather(task, return_exceptions=True)

    @asynccontextmanager
    async def thread(self, name: str, alive: Callable[[], bool]) -> AsyncIterator[None]:
        """Watch a thread from entry to exit; without it the process can no longer work."""

        async def look() -> None:
            while alive():  # noqa: ASYNC110 - a thread that dies sets no event
                await asyncio.sleep(self._patience.look_s)
            self._break(f"thread {name} has ended")

        async with self.loop(name, look):
            yield

    async def _keep(self, name: str, work: Work, ending: asyncio.Event, *, vital: bool) -> None:
        failures, since = 0, 0.0
        while not ending.is_set():
            begun = time.monotonic()
            try:
                await work()
            # A loop is restarted after any error: nothing else does its work.
            except Exception as error:  # noqa: BLE001
                now = time.monotonic()
                if failures == 0 or now - begun >= self._patience.steady_s:
                    failures, since = 0, now
                failures += 1
                pause = self._patience.pause(failures)
                self._metrics.loop_failures.labels(name).inc()
                # The text of an error may repeat what was sent.
                log.error(
                    "a loop failed; it is started again", loop=name, why=place(error), wait=pause
                )
                if vital and now - since >= self._patience.give_up_s:
                    self._break(f"loop {name} keeps failing")
                self._failing.add(name)
                await wait_at_most(pause, ending)
                self._failing.discard(name)
            else:
                return

    def _break(self, why: str) -> None:
        if self.broken is None:
            log.error("this process can do no more work", why=why)
            self.broken = why
            self._has_broken.set()
