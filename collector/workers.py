"""Worker processes of `serve`: a parent starts, watches and restarts them.

The parent binds the sockets of each worker and keeps them open: while a worker restarts, new
connections wait in the sockets' queues and none is refused. Each worker writes its health to a
pipe, as one line of JSON a second. It stops when its standard input ends, which happens when the
parent ends. The parent serves the health and the metrics of all workers as one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from collector import app
from collector.backoff import backoff
from collector.health import Handler, Health, private_site
from collector.listen import accept, bind, listening
from collector.metrics import Metrics
from collector.setting_types import Address
from collector.settings import Settings
from collector.share import Share
from collector.state import locked
from collector.systemd import Notifier

log = structlog.get_logger("collector.workers")

FOLDER: Final = "workers"
_METRICS: Final = "PROMETHEUS_MULTIPROC_DIR"
_TELL_S: Final = 1.0
_SILENT_S: Final = 60.0
"""A worker that writes no health line for this long counts as hung and is killed."""
_START_S: Final = 60.0
_STOP_S: Final = 40.0
_AGAIN_FIRST_S: Final = 1.0
_AGAIN_MOST_S: Final = 30.0
_NONE_S: Final = 600.0
"""After this long without any running worker, the parent exits, to be restarted itself."""


class WorkersError(Exception):
    """The workers cannot be started, or none runs; each has logged its reason."""


class Worker:
    """A worker process, seen from its parent: it is restarted whenever it ends."""

    def __init__(self, number: int, bound: list[socket.socket], metrics: Path) -> None:
        self.number = number
        self._bound = bound
        self._metrics = metrics
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._ended = False
        self._was_ready = False
        self.withdrawn = False
        """True while its sockets are shut down, so that the other workers get its connections."""
        self._told: dict[str, object] = {}
        self._heard = time.monotonic()
        self.ready = asyncio.Event()
        self.failed = asyncio.Event()
        """Set once the process has ended before it was ready."""

    def gone(self) -> list[str]:
        """Names of its failed loops and threads, or of the worker itself if it does not run."""
        if not self.ready.is_set():
            return [] if self._stopping else [f"worker {self.number}"]
        said = self._told.get("gone")
        return [f"worker {self.number}: {name}" for name in said] if isinstance(said, list) else []

    def unavailable(self) -> str | None:
        """The reason why it accepts no reports now, or None if it accepts them."""
        if not self.ready.is_set():
            return f"worker {self.number} is not ready"
        said = self._told.get("unavailable")
        return None if said is None else f"worker {self.number}: {said}"

    async def run(self) -> None:
        """Start the process, and restart it whenever it ends; on cancellation stop it."""
        failures = 0
        try:
            while True:
                begun = time.monotonic()
                await self._live()
                if self._ended:
                    return
                if not self._was_ready:
                    self._withdraw()
                    self.failed.set()
                if self._stopping:
                    self._stopping = False
                    continue
                failures = 1 if time.monotonic() - begun > _AGAIN_MOST_S else failures + 1
                wait = backoff(failures, first_s=_AGAIN_FIRST_S, most_s=_AGAIN_MOST_S)
                log.error("a worker has ended; it is started again", worker=self.number, wait=wait)
                await asyncio.sleep(wait)
        finally:
            await self._stop()

    def _withdraw(self) -> None:
        """Shut its sockets down, so that the kernel gives new connections to the other workers.

        A socket that is shut down leaves the group that shares the address (SO_REUSEPORT); it
        joins again when the worker calls `listen`.
        """
        if not self.withdrawn:
            log.error("a worker does not start; the others take its share", worker=self.number)
        self.withdrawn = True
        for one in self._bound:
            # A socket that is shut down while it does not listen stays so after `listen`.
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                one.shutdown(socket.SHUT_RDWR)

    async def renew(self) -> None:
        """Restart the process and wait until it is ready. Raises TimeoutError after 60 s."""
        self._stopping = True
        self.ready.clear()
        await self._stop()
        async with asyncio.timeout(_START_S):
            await self.ready.wait()

    async def end(self) -> None:
        """Stop the process and do not restart it."""
        self._ended = True
        await self._stop()

    async def _live(self) -> None:
        """Start the process once and wait until it ends; kill it if it hangs."""
        self.ready.clear()
        self._was_ready = False
        read, write = os.pipe()
        fds = [one.fileno() for one in self._bound]
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "collector", "worker", str(self.number)),
                *(word for fd in fds for word in ("--listen", str(fd))),
                *("--tell", str(write)),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(*fds, write),
                env=_environment(self._metrics),
                # Ctrl-C in a terminal must reach only the parent, which then stops the workers.
                start_new_session=True,
            )
        finally:
            os.close(write)
        pid = self._process.pid
        hearing = asyncio.create_task(self._hear(read))
        try:
            while self._process.returncode is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TELL_S):
                        await self._process.wait()
                if time.monotonic() - self._heard > _SILENT_S and self._process.returncode is None:
                    log.error("a worker is silent; it is killed", worker=self.number)
                    self._process.kill()
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            self.ready.clear()
            if self._process.returncode is not None:
                await asyncio.to_thread(mark_process_dead, pid, str(self._metrics))

    async def _hear(self, pipe: int) -> None:
        self._heard = time.monotonic()
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", 0)
        )
        try:
            while line := await reader.readline():
                self._told = json.loads(line)
                self._heard = time.monotonic()
                self._was_ready = True
                self.withdrawn = False
                self.ready.set()
        finally:
            transport.close()

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            log.error("a worker does not stop; it is killed", worker=self.number)
            process.kill()
            await process.wait()


class AllHealth:
    """The health of all workers together."""

    def __init__(self, workers: list[Worker]) -> None:
        self._workers = workers

    def gone(self) -> list[str]:
        """Names of failed loops, threads and workers."""
        return [name for worker in self._workers for name in worker.gone()]

    def unavailable(self) -> str | None:
        """The reason of a worker that accepts nothing; withdrawn ones count only if all are."""
        serving = [worker for worker in self._workers if not worker.withdrawn] or self._workers
        return next((why for worker in serving if (why := worker.unavailable())), None)


async def serve(settings: Settings) -> None:
    """Serve with several workers until SIGTERM or SIGINT; SIGHUP restarts them one by one.

    Raises StateError, OSError (an address that cannot be listened on), WorkersError (the first
    worker did not start, or none has run for ten minutes).
    """
    stop, again = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, again.set)
    async with running(settings) as workers:
        renewing = asyncio.create_task(_renew(workers, again))
        try:
            await _until(stop, workers)
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)


async def _until(stop: asyncio.Event, workers: Sequence[Worker]) -> None:
    """Wait until `stop` is set. Raises WorkersError if no worker has run for ten minutes."""
    served = time.monotonic()
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TELL_S):
                await stop.wait()
        if any(worker.ready.is_set() for worker in workers):
            served = time.monotonic()
        elif time.monotonic() - served > _NONE_S:
            raise WorkersError("no worker runs; the log says why")


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[list[Worker]]:
    """Run all workers from entry, when the first is ready and the others are started, to exit."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(locked(settings.state_dir / FOLDER))
        figures = _emptied(folder / "metrics")
        bound = bind(settings.listen, settings.workers)
        for sockets in bound:
            accept(sockets)
            for one in sockets:
                stack.callback(one.close)
        workers = [Worker(number, one, figures) for number, one in enumerate(bound)]
        # The first worker makes the key and migrates old files, so the others start after it. Any
        # other that does not start is tried again, like one that has ended.
        for worker in workers:
            await stack.enter_async_context(_kept(worker, needed=worker.number == 0))
        health: Health = AllHealth(workers)
        own = Metrics()
        at = await stack.enter_async_context(
            listening(
                private_site(_metrics(figures, own), health),
                settings.metrics_listen,
                app.listener_of(settings, own, "metrics"),
            )
        )
        public = Address(settings.listen.host, bound[0][0].getsockname()[1])
        log.info("serving", public=str(public), metrics=str(at), workers=len(workers))
        try:
            # The watchdog watches the parent alone: a failing worker must not stop the others.
            async with Notifier().serving(lambda: True):
                yield workers
        finally:
            log.info("stopping")
            await asyncio.gather(*(worker.end() for worker in workers))


@asynccontextmanager
async def _kept(worker: Worker, *, needed: bool) -> AsyncIterator[None]:
    """Run a worker from entry to exit. Raises WorkersError if it is `needed` and does not start."""
    task = asyncio.create_task(worker.run(), name=f"worker {worker.number}")
    events = [asyncio.create_task(event.wait()) for event in (worker.ready, worker.failed)]
    try:
        await asyncio.wait(events, timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
        if needed and not worker.ready.is_set():
            raise WorkersError(f"worker {worker.number} did not start; the log says why")
        yield
    finally:
        for waiting in (*events, task):
            waiting.cancel()
        await asyncio.gather(*events, task, return_exceptions=True)


async def _renew(workers: list[Worker], again: asyncio.Event) -> None:
    while True:
        await again.wait()
        again.clear()
        log.info("starting the workers anew, in turn")
        for worker in workers:
            try:
                await worker.renew()
            except TimeoutError:
                log.error("a worker did not come back; the others stay", worker=worker.number)
                break
        else:
            log.info("all workers are new")


async def work(settings: Settings, share: Share, tell: int) -> None:
    """Run this process as a worker until SIGTERM, or until its parent has ended.

    `tell` is the file descriptor of the pipe for its health. Raises CannotWork, and the errors of
    `app.running`.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # The parent writes nothing to it: it becomes readable only when it ends.
    loop.add_reader(sys.stdin.fileno(), stop.set)
    async with app.running(settings, share) as at:
        app.spare_collections()
        telling = asyncio.create_task(_tell(tell, at))
        try:
            await at.supervisor.wait(stop)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)


async def _tell(pipe: int, at: app.Running) -> None:
    while True:
        # Writes the gauges to the files from which the parent makes its metrics page.
        at.refresh()
        said = {"gone": at.health.gone(), "unavailable": at.health.unavailable()}
        with contextlib.suppress(BrokenPipeError):
            os.write(pipe, json.dumps(said).encode() + b"\n")
        await asyncio.sleep(_TELL_S)


class _AllMetrics(Collector):
    """The metrics of all workers together, and the parent's own open connections."""

    def __init__(self, figures: Path, own: Metrics) -> None:
        self._own = own
        self._workers = MultiProcessCollector(None, str(figures))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        """Yield each metric once, with the samples of every process."""
        (own,) = self._own.connections.collect()
        for metric in self._workers.collect():  # type: ignore[no-untyped-call]
            if metric.name == own.name:
                metric.samples = [*metric.samples, *own.samples]
            yield metric


def _metrics(figures: Path, own: Metrics) -> Handler:
    def page() -> bytes:
        registry = CollectorRegistry()
        registry.register(_AllMetrics(figures, own))
        return generate_latest(registry)

    async def metrics(_request: web.Request) -> web.Response:
        own.refresh()
        return web.Response(
            body=await asyncio.to_thread(page), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    return metrics


def _environment(figures: Path) -> dict[str, str]:
    """The environment of a worker: no service manager, and metrics in files of folder `figures`."""
    own = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
    kept = {name: value for name, value in os.environ.items() if name not in own}
    return kept | {_METRICS: str(figures)}


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder
