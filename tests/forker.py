"""The process that forks collectors for the tests (see tests/preloaded.py).

Run as `python -m tests.forker FD`: each message on the socket FD asks for one collector, and comes
with two descriptors: the collector's output, and a socket that is told its process id and pidfd,
and at its end its exit code. The process ends, and kills its forks, when the socket is closed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple

import coverage

import collector.app
import collector.intakes
import collector.workers
from collector.cli import main
from collector.lazy import PAGES

_MOST_BYTES: Final = 1 << 17
"""Largest request in bytes: arguments and environment."""
_PACKAGES: Final = (collector.app, collector.intakes, collector.workers)
"""Packages whose modules are imported when a command runs, or a sender is switched on."""
_LIBRARIES: Final = (*PAGES, "uvloop")
"""Libraries that are imported at their first use. Not polars: it starts threads."""


class _Start(NamedTuple):
    """The start of a collector in a fork of this process."""

    arguments: list[str]
    environment: dict[str, str]
    cwd: str
    output: int


class _Forker:
    """The process that forks collectors: its side of the control socket."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._waiting = select.poll()
        self._waiting.register(control, select.POLLIN)
        self._children: dict[int, tuple[int, socket.socket]] = {}
        """Process id and status socket of each fork by its pidfd."""

    def run(self) -> _Start | None:
        """Fork for each request; returns its start in each fork, and None when the client ends."""
        while True:
            for ready, _ in self._waiting.poll():
                if ready in self._children:
                    self._ended(ready)
                    continue
                request, fds, *_ = socket.recv_fds(self._control, _MOST_BYTES, 2)
                if not request:
                    for pidfd in self._children:
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    return None
                output, status = fds[0], socket.socket(fileno=fds[1])
                if not (pid := os.fork()):
                    status.close()
                    self._close()
                    return _Start(**json.loads(request), output=output)
                self._started(pid, status)
                os.close(output)

    def _started(self, pid: int, status: socket.socket) -> None:
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = (pid, status)
        self._waiting.register(pidfd, select.POLLIN)
        socket.send_fds(status, [str(pid).encode()], [pidfd])

    def _ended(self, pidfd: int) -> None:
        pid, status = self._children.pop(pidfd)
        self._waiting.unregister(pidfd)
        os.close(pidfd)
        _, how = os.waitpid(pid, 0)
        with status, contextlib.suppress(BrokenPipeError):
            status.send(str(os.waitstatus_to_exitcode(how)).encode())

    def _close(self) -> None:
        """Close in a fork what belongs to this process."""
        self._control.close()
        for pidfd, (_, status) in self._children.items():
            os.close(pidfd)
            status.close()


def _prepare() -> None:
    """Import what a running collector has imported, and exclude it from garbage collection."""
    for package in _PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name in _LIBRARIES:
        importlib.import_module(name)
    if len([*Path("/proc/self/task").iterdir()]) > 1:
        raise RuntimeError("an import has started a thread: forks would lack it")
    gc.collect()
    gc.freeze()


def _become(start: _Start) -> None:
    """Be the collector from here on; ends by SystemExit, as its command does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(start.output, 1)
    os.dup2(start.output, 2)
    os.close(start.output)
    os.chdir(start.cwd)
    os.environ.clear()
    os.environ.update(start.environment)
    time.tzset()
    sys.path[0] = start.cwd
    sys.argv = ["collector", *start.arguments]
    # Does nothing in a test run that is not measured.
    coverage.process_startup(force=True)
    main()


def _main() -> None:
    # Ctrl-C ends the client and the collectors; this process ends after them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    _prepare()
    if (start := _Forker(control).run()) is not None:
        _become(start)


if __name__ == "__main__":
    _main()
