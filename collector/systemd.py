"""The service manager (systemd): notifications (ready, alive, stopping), and sockets that it holds.

The protocol is sd_notify(3): datagrams to the socket that NOTIFY_SOCKET names. WATCHDOG_USEC is the
longest time between two keep-alive messages, WATCHDOG_PID the process that must send them. Sockets
of a socket unit come as sd_listen_fds(3) says: LISTEN_FDS of them, from file descriptor 3 on.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import structlog

from collector.supervisor import beside

log = structlog.get_logger("collector.systemd")

_PER_LIMIT: Final = 3
"""Keep-alive messages in the time that the service manager waits for one."""
_FIRST_SOCKET: Final = 3


def passed_sockets() -> list[socket.socket]:
    """The sockets that the service manager holds for this process; none if it holds none."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=_FIRST_SOCKET + number) for number in range(count)]


class Notifier:
    """Sends notifications to the service manager; does nothing if the environment names none."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        limit = environment.get("WATCHDOG_USEC", "")
        meant = environment.get("WATCHDOG_PID", "")
        wanted = limit.isdecimal() and int(limit) and meant in ("", str(os.getpid()))
        self.interval_s = int(limit) / 1e6 / _PER_LIMIT if self._address and wanted else None
        """Seconds between two keep-alive messages; None if they are not wanted."""

    def tell(self, state: str) -> None:
        """Send a state such as `READY=1`; a failure is only logged."""
        if not self._address:
            return
        # A leading @ stands for the NUL byte of an abstract socket.
        at = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)
                out.connect(at)
                out.send(state.encode())
        except OSError as error:
            log.warning(
                "the service manager could not be notified", state=state, why=error.strerror
            )

    @asynccontextmanager
    async def serving(self, alive: Callable[[], bool]) -> AsyncIterator[None]:
        """Send READY at entry and STOPPING at exit; in between, keep-alives while `alive()`."""
        try:
            async with beside(self._watch(alive)):
                self.tell("READY=1")
                yield
        finally:
            self.tell("STOPPING=1")

    async def _watch(self, alive: Callable[[], bool]) -> None:
        if self.interval_s is None:
            return
        while True:
            if alive():
                self.tell("WATCHDOG=1")
            await asyncio.sleep(self.interval_s)
