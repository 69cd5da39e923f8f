"""Starts collectors as forks of a process that has already imported the collector.

Python and the collector's imports take most of a second of processor time at each start, more than
a typical test that starts one. A fork of tests/forker.py has them at once. What follows is as in an
installation: a process with its own environment, directory, ports, log, signals and exit code.

`make long` starts every collector as a new Python instead, and so does `make test` where a test
needs it: under another command, and with variables that only a new process reads.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from tests.length import LONG


class Forked:
    """A process that was forked by `Preloaded`; has those methods of `subprocess.Popen` in use."""

    def __init__(self, pid: int, pidfd: int, status: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._pidfd = pidfd
        self._status = status
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return the exit code. Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        # In steps, since another thread may wait too.
        while (code := self._look(0.5 if timeout is None else min(0.5, timeout))) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("collector", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal; does nothing after its end."""
        with self._lock:
            if self.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _look(self, within_s: float) -> int | None:
        with self._lock:
            if self.returncode is None:
                waiting = select.poll()
                waiting.register(self._status, select.POLLIN)
                if waiting.poll(within_s * 1000):
                    said = self._status.recv(64)
                    self._status.close()
                    os.close(self._pidfd)
                    if not said:
                        raise RuntimeError("the process that forks collectors has ended")
                    self.returncode = int(said)
            return self.returncode


Process = subprocess.Popen[bytes] | Forked


def collector(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    cwd: Path,
    output: IO[bytes],
    *,
    under: Sequence[str] = (),
) -> Process:
    """Start `collector …` in a directory; `output` gets its standard output and error.

    It is a fork, or a new Python, which the command `under` can run.
    """
    if LONG or under or _of_new_process(environment):
        return subprocess.Popen(
            [*under, sys.executable, "-m", "collector", *arguments],
            env=environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return _preloaded().start(arguments, environment, cwd, output)


def _of_new_process(environment: Mapping[str, str]) -> bool:
    """Whether variables differ from this process's that the collector itself does not read."""
    return any(
        value != os.environ.get(name)
        for name, value in environment.items()
        if not name.startswith("COLLECTOR_")
    )


@cache
def _preloaded() -> Preloaded:
    return Preloaded(Path(tempfile.mkdtemp(prefix="usage-preloaded-")))


def stop() -> None:
    """End the process that forks collectors, if it was ever needed."""
    if _preloaded.cache_info().currsize:
        _preloaded().stop()


class Preloaded:
    """The process that forks collectors: the client's side. Its methods are safe in threads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._errors = directory / "errors"
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # A collector's measuring begins when it is forked.
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("COLLECTOR_", "COVERAGE_"))
        }
        with theirs, self._errors.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forker", str(theirs.fileno())],
                cwd=Path(__file__).parents[1],
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=output,
            )

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], cwd: Path, output: IO[bytes]
    ) -> Forked:
        """Fork a process that runs `collector …`; `output` gets its standard output and error."""
        status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {"arguments": [*arguments], "environment": {**environment}, "cwd": str(cwd)}
        with theirs, self._lock:
            try:
                socket.send_fds(
                    self._control,
                    [json.dumps(request).encode()],
                    [output.fileno(), theirs.fileno()],
                )
            except OSError as error:
                raise RuntimeError(self._errors.read_text()) from error
        said, pidfds, *_ = socket.recv_fds(status, 64, 1)
        if not said:
            status.close()
            raise RuntimeError(self._errors.read_text())
        return Forked(int(said), pidfds[0], status)

    def stop(self) -> None:
        """End it; it ends its forks."""
        self._control.close()
        self._process.wait()
        shutil.rmtree(self._directory)
