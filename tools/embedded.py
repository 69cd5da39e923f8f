"""Servers as child processes on loopback, for the demo and the tests: Debian's InfluxDB 1.x.

`start_child` starts any program that must not outlive this process.

Standard library only: the set-up uses this module before anything is installed.
"""

from __future__ import annotations

import asyncio
import fcntl
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

HOST = "127.0.0.1"
UNPACKED = Path(".local/influxdb/usr/bin/influxd")
"""Path of the server that `make setup` unpacks, relative to the project's root."""

START_TIMEOUT = 120.0
STOP_TIMEOUT = 20.0
PORTS_VARIABLE = "USAGE_PORTS_FILE"
"""Environment variable that names a file in which processes count the ports that they take."""
_FIRST_PORT = 20_000
_PORTS = 12_000
_LOG_TAIL = 2000

# The kernel sends the program the signal when the thread that started it ends, also after a
# SIGKILL, which no exit handler survives. The parent is compared because it may have died before
# the call of prctl. `execv` keeps the process id, which the caller knows.
_LAUNCHER = """
import ctypes, os, sys
parent, signal, user, group = map(int, sys.argv[1:5])
if user:
    # Here, since that user may have no access to this interpreter; it clears the setting below.
    os.setgroups([]), os.setgid(group), os.setuid(user)
ctypes.CDLL(None).prctl(1, signal)
if os.getppid() != parent:
    sys.exit("the parent process has gone")
os.execv(sys.argv[5], sys.argv[5:])
"""

_CONFIG = """
reporting-enabled = false
reporting-disabled = true
bind-address = "{host}:0"

[meta]
dir = {meta}

[data]
dir = {data}
wal-dir = {wal}
index-version = "tsi1"
query-log-enabled = false
cache-snapshot-write-cold-duration = "{cold_after}"
compact-full-write-cold-duration = "{compact_after}"

[retention]
check-interval = {retention_check}

[monitor]
store-enabled = false

[subscriber]
enabled = false

[continuous_queries]
enabled = false

[http]
bind-address = "{host}:{port}"
log-enabled = false
"""


class InfluxdNotFoundError(RuntimeError):
    """There is no usable influxd on this machine; the message gives the remedy."""


class InfluxdStartError(RuntimeError):
    """influxd ended or did not answer at its start; the message holds the end of its log."""


def start_child(
    command: Sequence[str | Path],
    *,
    log: Path,
    environment: Mapping[str, str],
    at_end: signal.Signals = signal.SIGKILL,
    directory: Path | None = None,
    user: tuple[int, int] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own; its output is appended to `log`.

    `user` are the user and the group that it runs as, if this process is root's.
    The program gets the signal `at_end` when the thread that called this function ends.
    Raises `OSError`.
    """
    numbers = map(str, (os.getpid(), int(at_end), *(user or (0, 0))))
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *numbers]
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - our interpreter, a program that the caller found
            launcher + [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            cwd=directory,
            # Ctrl-C in a terminal must not stop it before the program that uses it.
            start_new_session=True,
        )


def free_port() -> int:
    """Return a TCP port of the loopback address on which nothing listens.

    It lies below the range from which Linux takes the source ports of outgoing connections: such
    a connection could otherwise hold the port, or connect to itself, while its server is down.
    Processes with the same file in PORTS_VARIABLE take turns: none gets a port that another has
    got and does not use yet.
    """
    for _ in range(_PORTS):
        port = _FIRST_PORT + _turn() % _PORTS
        if is_free(port):
            return port
    raise OSError(f"no free port on {HOST} between 20000 and 32000")


def _turn() -> int:
    """Count up the number in the shared file, beginning anywhere; without one, take any number."""
    path = os.environ.get(PORTS_VARIABLE)
    if not path:
        # Not from `random`: a test that seeds it would get the same ports again.
        return secrets.randbelow(_PORTS)
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(number, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        held = file.read().strip()
        turn = int(held) + 1 if held.isdigit() else secrets.randbelow(_PORTS)
        file.seek(0)
        file.truncate()
        file.write(b"%d\n" % turn)
    return turn


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this TCP port of the loopback address."""
    with socket.socket() as probe:
        # Servers set it too: closing connections of an earlier server do not matter then.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def is_influxd_1(binary: Path) -> bool:
    """Tell whether `binary` runs here and is an InfluxDB 1.x, which has a configuration file."""
    try:
        answer = subprocess.run(  # noqa: S603 - a program found on PATH or unpacked by the set-up
            [binary, "version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and answer.stdout.startswith("InfluxDB v1.")


def find_influxd(*roots: Path) -> Path:
    """Return the influxd to use: the one on PATH, or the one the set-up unpacked.

    `.local/` is looked for in `roots`, by default the project's root and the current directory.
    Raises `InfluxdNotFoundError`.
    """
    installed = shutil.which("influxd")
    searched = roots or (Path(__file__).resolve().parent.parent, Path.cwd())
    unpacked = list(dict.fromkeys(root.resolve() / UNPACKED for root in searched))
    for candidate in ([] if installed is None else [Path(installed)]) + unpacked:
        if is_influxd_1(candidate):
            return candidate
    raise InfluxdNotFoundError(
        "No InfluxDB 1.x server was found, neither `influxd` on PATH nor "
        f"{' nor '.join(map(str, unpacked))}. "
        "Run `make setup` in the project's directory, or install Debian's package `influxdb`."
    )


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]


class Embedded(ABC):
    """A server as a child process with its files in `directory` and its HTTP port on loopback.

    It runs from `start` to `terminate`, or from entry to exit of the context, and ends with the
    thread that started it. A subclass says how it is started, and which request it answers when it
    is ready; `error` is the exception that it raises. `host` is an address of loopback.
    """

    host: str = HOST

    title: ClassVar[str]
    """Name of the program in messages."""
    error: ClassVar[type[Exception]]
    ready: ClassVar[tuple[str, int]]
    """Path and status of the answer that it gives when it is ready."""

    def __init__(self, directory: Path, *, port: int | None = None) -> None:
        self.directory = directory.resolve()
        self.log = self.directory / f"{self.title.lower()}.log"
        self.port = free_port() if port is None else port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of the HTTP API, without a trailing slash."""
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id; None if it does not run."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def log_tail(self) -> str:
        """Return the last lines of the log."""
        try:
            return self.log.read_text(errors="replace")[-_LOG_TAIL:].strip()
        except FileNotFoundError:
            return ""

    def start(self) -> None:
        """Start it, unless it runs, and return once it answers.

        Raises `error`.
        """
        if self.running:
            return
        self.launch()
        try:
            self.wait_ready()
        except BaseException:
            self.kill()
            raise

    def launch(self) -> None:
        """Start the process, unless it runs, without waiting until it is ready."""
        if not self.running:
            self._start_process()

    def wait_ready(self) -> None:
        """Wait until it answers. Raises `error`."""
        self._wait_for_answer()

    def pause(self) -> None:
        """Stop the process with SIGSTOP: its connections stay open and nobody answers."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue a stopped process with SIGCONT."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def terminate(self) -> None:
        """Stop it with SIGTERM and wait for its end; kill it after 20 s."""
        if self._process is None:
            return
        if self.running:
            self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it with SIGKILL, like a crash."""
        if self._process is None:
            return
        if self.running:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def restart(self) -> None:
        """Stop it, if it runs, and start it with the same port and data."""
        self.terminate()
        self.start()

    async def __aenter__(self) -> Self:
        # The server ends with the thread that starts it, so only the wait is in another thread.
        if not self.running:
            self._start_process()
            try:
                await asyncio.to_thread(self._wait_for_answer)
            except BaseException:
                self.kill()
                raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.terminate)

    @abstractmethod
    def _start_process(self) -> None:
        """Start the process into `_process`."""

    @property
    def http_port(self) -> int:
        """The port of the HTTP server that answers when it is ready."""
        return self.port

    def _wait_for_answer(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if not self.running:
                raise self.failed("ended at start")
            if self._answers():
                return
            time.sleep(0.02)
        raise self.failed(f"did not answer on {self.url} in {START_TIMEOUT:.0f} s")

    def failed(self, how: str) -> Exception:
        """Build an error with the end of the log."""
        return self.error(f"{self.title} {how}. Its log:\n{self.log_tail()}")

    def _answers(self) -> bool:
        path, status = self.ready
        connection = http.client.HTTPConnection(self.host, self.http_port, timeout=1)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == status
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class EmbeddedInflux(Embedded):
    """An influxd process with its files in `directory` and its HTTP port on loopback.

    Data in `directory` is used again at the next start. `port` is a free one unless given, and
    stays the same over restarts. Two options are InfluxDB durations: `retention_check`, the
    interval at which expired data is dropped, and `compact_after`, the time from a shard's last
    write to its compaction, which removes deleted data. `overrides` are environment variables of
    influxd (`INFLUXDB_HTTP_MAX_ROW_LIMIT`), which take precedence over its configuration from the
    next start on.
    Raises `InfluxdNotFoundError` if no server is given or found.
    """

    title = "influxd"
    error = InfluxdStartError
    ready = ("/ping", http.HTTPStatus.NO_CONTENT)

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        retention_check: str = "30m",
        compact_after: str = "4h",
        influxd: Path | None = None,
        overrides: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(directory, port=port)
        self._influxd = influxd or find_influxd()
        self.overrides = dict(overrides or {})
        self._retention_check = retention_check
        self._compact_after = compact_after

    def _start_process(self) -> None:
        # Otherwise a program that listens there already would answer in place of this server.
        if not is_free(self.port):
            raise InfluxdStartError(f"Port {self.port} of {HOST} is in use by another program.")
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "influxd.conf"
        config.write_text(
            _CONFIG.format(
                host=HOST,
                port=self.port,
                # A JSON string is a valid TOML string, with any characters in the path.
                meta=json.dumps(str(self.directory / "meta")),
                data=json.dumps(str(self.directory / "data")),
                wal=json.dumps(str(self.directory / "wal")),
                retention_check=json.dumps(self._retention_check),
                # The cache is to be written out before a shard is compacted, as by default.
                cold_after=min(self._compact_after, "10m", key=_seconds),
                compact_after=self._compact_after,
            )
        )
        # Settings of influxd in the caller's environment would override the file.
        outside = {k: v for k, v in os.environ.items() if not k.startswith("INFLUXDB_")}
        self._process = start_child(
            [self._influxd, "-config", config], log=self.log, environment=outside | self.overrides
        )
