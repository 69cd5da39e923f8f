"""A worker process, seen from its parent: started, watched, restarted and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Final

import structlog
from prometheus_client.multiprocess import mark_process_dead

from collector.backoff import backoff
from collector.supervisor import beside

log = structlog.get_logger("collector.workers")

START_S: Final = 60.0
"""Longest time in s that a worker may take until it is ready."""
_METRICS: Final = "PROMETHEUS_MULTIPROC_DIR"
_CHECK_S: Final = 1.0
_SILENT_S: Final = 60.0
"""A worker that writes no health line for this long counts as hung and is killed."""
_STOP_S: Final = 40.0
_AGAIN_FIRST_S: Final = 1.0
_AGAIN_MOST_S: Final = 30.0


@dataclass(eq=False)
class WorkerProcess:
    """A worker process, seen from its parent: it is restarted whenever it ends.

    `role` is the name of its role. `statsd` are bound sockets for StatsD with the places of their
    addresses (see `Worker`).
    """

    number: int
    bound: list[socket.socket]
    metrics: Path
    _: KW_ONLY
    role: str
    statsd: Sequence[tuple[int, socket.socket]] = ()

    def __post_init__(self) -> None:
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
            log.error(
                "a worker does not start; the others take its connections", worker=self.number
            )
        self.withdrawn = True
        for one in self.bound:
            # A socket that is shut down while it does not listen stays so after `listen`.
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                one.shutdown(socket.SHUT_RDWR)

    async def renew(self) -> None:
        """Restart the process and wait until it is ready. Raises TimeoutError after 60 s."""
        self._stopping = True
        self.ready.clear()
        await self._stop()
        async with asyncio.timeout(START_S):
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
        fds = [one.fileno() for one in self.bound]
        statsd = [(place, one.fileno()) for place, one in self.statsd]
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "collector", "worker", str(self.number)),
                *("--role", self.role),
                *(word for fd in fds for word in ("--listen", str(fd))),
                *(word for place, fd in statsd for word in ("--statsd", f"{place}:{fd}")),
                *("--health-fd", str(write)),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(*fds, *(fd for _, fd in statsd), write),
                env=_environment(self.metrics),
                # Ctrl-C in a terminal must reach only the parent, which then stops the workers.
                start_new_session=True,
            )
        finally:
            os.close(write)
        pid = self._process.pid
        try:
            async with beside(self._hear(read)):
                while self._process.returncode is None:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_CHECK_S):
                            await self._process.wait()
                    silent = time.monotonic() - self._heard > _SILENT_S
                    if silent and self._process.returncode is None:
                        log.error("a worker does not respond; it is killed", worker=self.number)
                        self._process.kill()
        finally:
            self.ready.clear()
            if self._process.returncode is not None:
                await asyncio.to_thread(mark_process_dead, pid, str(self.metrics))

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


def _environment(figures: Path) -> dict[str, str]:
    """The environment of a worker: no service manager, and metrics in files of folder `figures`."""
    own = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
    kept = {name: value for name, value in os.environ.items() if name not in own}
    return kept | {_METRICS: str(figures)}
