"""Runs the loops of a process: one that fails is started again, and the process ends in the end.

A loop may fail for a passing reason, so it is started again after a pause that grows. Where it
keeps failing, or a thread that nothing can replace has ended, only a new process helps: this one
ends with an error, so that whoever supervises it (systemd, a container's restart policy, the parent
of a worker) starts it again.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog

from collector.logs import place
from collector.metrics import Metrics

log = structlog.get_logger("collector.supervisor")

_LAST_RESORT_S: Final = 60.0
"""Time for a process that can do no more work to clean up; then it is ended without."""

Work = Callable[[], Coroutine[Any, Any, None]]
"""Starts a loop; called again each time that the loop has failed."""


async def together(*loops: Coroutine[Any, Any, None]) -> None:
    """Run loops side by side; where one fails, the others are cancelled and its error is raised."""
    async with asyncio.TaskGroup() as group:
        for loop in loops:
            group.create_task(loop)


class CannotWork(Exception):
    """The process can do its work no more; the text says what has failed."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How failures of a loop are taken; all times in s.

    The pause before a new start is `first_s`, doubles with each failure and is at most `most_s`. A
    loop that ran for `steady_s` begins anew. Loops that keep failing for `give_up_s` end the
    process. `look_s` is the time between two looks at a thread.
    """

    first_s: float = 1.0
    most_s: float = 60.0
    steady_s: float = 120.0
    give_up_s: float = 900.0
    look_s: float = 1.0

    def pause(self, failures: int) -> float:
        """The pause after failure number `failures` in a row (from 1)."""
        return min(self.first_s * 2.0 ** min(failures - 1, 30), self.most_s)


class Supervisor:
    """Supervises the loops of one process."""

    def __init__(self, metrics: Metrics, patience: Patience | None = None) -> None:
        self._metrics = metrics
        self._patience = patience or Patience()
        self._failing: set[str] = set()
        self._broken: str | None = None
        self._has_broken = asyncio.Event()

    @property
    def failing(self) -> list[str]:
        """The loops that have failed and wait to be started again."""
        return sorted(self._failing)

    @property
    def broken(self) -> str | None:
        """What makes the process useless, if anything does."""
        return self._broken

    async def wait(self, stop: asyncio.Event) -> None:
        """Wait until `stop` is set. Raises CannotWork where the process is useless before that."""
        waiting = [asyncio.ensure_future(event.wait()) for event in (stop, self._has_broken)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        if self._broken is not None and not stop.is_set():
            # What has failed may hold up the way out as well.
            timer = threading.Timer(_LAST_RESORT_S, os._exit, [1])
            timer.daemon = True
            timer.start()
            raise CannotWork(f"{self._broken}: this process ends, to be started again")

    @asynccontextmanager
    async def loop(
        self,
        name: str,
        work: Work,
        *,
        stop: Callable[[], None] | None = None,
        vital: bool = True,
    ) -> AsyncIterator[None]:
        """Run a loop beside; at the end it is cancelled, or asked to `stop`, and awaited.

        One that returns has done its work. One that is not `vital` never ends the process.
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
        """Watch a thread beside; the process is useless once it has ended."""

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
            # Whatever a loop raises, it must not stay ended.
            except Exception as error:  # noqa: BLE001
                now = time.monotonic()
                if failures == 0 or now - begun >= self._patience.steady_s:
                    failures, since = 0, now
                failures += 1
                pause = self._patience.pause(failures)
                self._metrics.loop_failures.labels(name).inc()
                # An error's words may repeat what was sent.
                log.error(
                    "a loop failed; it is started again", loop=name, why=place(error), wait=pause
                )
                if vital and now - since >= self._patience.give_up_s:
                    self._break(f"loop {name} keeps failing")
                self._failing.add(name)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await ending.wait()
                self._failing.discard(name)
            else:
                return

    def _break(self, why: str) -> None:
        if self._broken is None:
            log.error("this process can do no more work", why=why)
            self._broken = why
            self._has_broken.set()
