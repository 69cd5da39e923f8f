"""What a service manager is told: ready, alive, stopping.

The protocol is sd_notify(3): datagrams to the socket that NOTIFY_SOCKET names; WATCHDOG_USEC and
WATCHDOG_PID say how often a sign of life is wanted, and of whom.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import structlog

log = structlog.get_logger("collector.systemd")

_PER_LIMIT: Final = 3
"""Signs of life within the time that the service manager waits for one."""


class Notifier:
    """Tells the service manager that the environment names; nobody where it names none."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        limit = environment.get("WATCHDOG_USEC", "")
        meant = environment.get("WATCHDOG_PID", "")
        wanted = limit.isdecimal() and int(limit) and meant in ("", str(os.getpid()))
        self.interval_s = int(limit) / 1e6 / _PER_LIMIT if self._address and wanted else None
        """Seconds between two signs of life; None where none is wanted."""

    def tell(self, state: str) -> None:
        """Send a state such as `READY=1`; one that cannot be sent is said in the log."""
        if not self._address:
            return
        # A leading @ is how an environment writes the NUL of an abstract socket.
        at = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)
                out.connect(at)
                out.send(state.encode())
        except OSError as error:
            log.warning("the service manager could not be told", state=state, why=error.strerror)

    @asynccontextmanager
    async def serving(self, alive: Callable[[], bool]) -> AsyncIterator[None]:
        """Ready at the entry and stopping at the exit; in between a sign of life while `alive`."""
        watched = asyncio.create_task(self._watch(alive), name="watchdog")
        self.tell("READY=1")
        try:
            yield
        finally:
            watched.cancel()
            await asyncio.gather(watched, return_exceptions=True)
            self.tell("STOPPING=1")

    async def _watch(self, alive: Callable[[], bool]) -> None:
        if self.interval_s is None:
            return
        while True:
            if alive():
                self.tell("WATCHDOG=1")
            await asyncio.sleep(self.interval_s)
