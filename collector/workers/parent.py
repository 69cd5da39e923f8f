"""The parent of the workers: binds their sockets, and starts, watches and restarts them."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import structlog

from collector import app
from collector.app.roles import Role
from collector.intakes.statsd.sockets import bound as bound_statsd
from collector.intakes.statsd.sockets import placed
from collector.listen import accept, bind
from collector.metrics import Metrics
from collector.setting_types import Address
from collector.settings import Settings, SettingsError
from collector.state import locked
from collector.supervisor import CannotWork, any_of, beside, stop_event, wait_at_most
from collector.systemd import Notifier, passed_sockets
from collector.workers.metrics import metrics_page
from collector.workers.process import START_S, WorkerProcess

log = structlog.get_logger("collector.workers")

_FOLDER: Final = "workers"
_CHECK_S: Final = 1.0
_NONE_S: Final = 600.0
"""After this long without any running worker, the parent exits, to be restarted itself."""


class AllHealth:
    """The health of all workers together."""

    def __init__(self, workers: list[WorkerProcess]) -> None:
        self._workers = workers

    def gone(self) -> list[str]:
        """Names of failed loops, threads and workers."""
        return [name for worker in self._workers for name in worker.gone()]

    def unavailable(self) -> str | None:
        """The reason of a worker that accepts nothing; withdrawn ones count only if all are."""
        serving = [worker for worker in self._workers if not worker.withdrawn] or self._workers
        return next((why for worker in serving if (why := worker.unavailable())), None)


async def serve(settings: Settings, role: Role) -> None:
    """Run a role in several workers until SIGTERM or SIGINT; SIGHUP restarts them one by one.

    Raises StateError, OSError (an address that cannot be listened on), CannotWork (the first
    worker did not start, or none has run for ten minutes).
    """
    stop, again = stop_event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, again.set)
    async with running(settings, role) as workers:
        app.tune_interpreter()
        async with beside(_renew(workers, again, settings)):
            await _until(stop, workers)


async def _until(stop: asyncio.Event, workers: Sequence[WorkerProcess]) -> None:
    """Wait until `stop` is set. Raises CannotWork if no worker has run for ten minutes."""
    served = time.monotonic()
    while not stop.is_set():
        await wait_at_most(_CHECK_S, stop)
        if any(worker.ready.is_set() for worker in workers):
            served = time.monotonic()
        elif time.monotonic() - served > _NONE_S:
            raise CannotWork("no worker runs; the log says why")


@asynccontextmanager
async def running(settings: Settings, role: Role) -> AsyncIterator[list[WorkerProcess]]:
    """Run all workers from entry, when the first is ready and the others are started, to exit."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(locked(settings.state_dir / _FOLDER))
        figures = _emptied(folder / "metrics")
        bound = bind(settings.listen, settings.workers)
        for sockets in bound:
            accept(sockets)
            for one in sockets:
                stack.callback(one.close)
        # Held here, so that what comes while the first worker restarts waits in the kernel.
        places = placed(settings.statsd_listen, passed_sockets())
        if not places:
            statsd = stack.enter_context(bound_statsd(settings.statsd_listen))
            places = [(settings.statsd_listen.index(one.endpoint), one.socket) for one in statsd]
        workers = [
            WorkerProcess(number, one, figures, role=role.name, statsd=() if number else places)
            for number, one in enumerate(bound)
        ]
        # The first worker makes the key and migrates old files, so the others start after it. Any
        # other that does not start is tried again, like one that has ended.
        for worker in workers:
            await stack.enter_async_context(_started(worker, needed=worker.number == 0))
        own = Metrics()
        page = metrics_page(figures, own)
        at = await stack.enter_async_context(
            app.serving_privately(settings, own, page, AllHealth(workers))
        )
        public = Address(settings.listen.host, bound[0][0].getsockname()[1])
        log.info(
            "serving", role=role.name, public=str(public), metrics=str(at), workers=len(workers)
        )
        try:
            # The watchdog watches the parent alone: a failing worker must not stop the others.
            async with Notifier().serving(lambda: True):
                yield workers
        finally:
            log.info("stopping")
            await asyncio.gather(*(worker.end() for worker in workers))


@asynccontextmanager
async def _started(worker: WorkerProcess, *, needed: bool) -> AsyncIterator[None]:
    """Run a worker from entry to exit. Raises CannotWork if it is `needed` and does not start."""
    async with beside(worker.run()):
        await any_of(worker.ready, worker.failed, at_most_s=START_S)
        if needed and not worker.ready.is_set():
            raise CannotWork(f"worker {worker.number} did not start; the log says why")
        yield


async def _renew(workers: list[WorkerProcess], again: asyncio.Event, settings: Settings) -> None:
    while True:
        await again.wait()
        again.clear()
        try:
            app.check_files(settings)
        except SettingsError as error:
            # A worker that reads it would not start.
            log.error("a file is wrong; no worker is restarted", why=str(error))
            continue
        log.info("restarting the workers, one after another")
        for worker in workers:
            try:
                await worker.renew()
            except TimeoutError:
                log.error(
                    "a restarted worker did not become ready; the others are not restarted",
                    worker=worker.number,
                )
                break
        else:
            log.info("all workers are restarted")


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder
