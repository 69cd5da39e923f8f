"""The servers that are measured, each a process of its own on loopback."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

READY_S: Final = 60.0
_CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Serving:
    """A server under test: its process, where it takes reports, where it tells its metrics."""

    pid: int
    url: str
    metrics_url: str = ""

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        page = fetch(f"{self.metrics_url}/metrics").decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def cpu_seconds(self) -> float:
        """Time on a core since the process began, of its children too."""
        return sum(_cpu_seconds(pid) for pid in (self.pid, *_children(self.pid)))

    def resident_mib(self) -> float:
        """Memory that is the process's and its children's, in MiB."""
        return sum(_resident_mib(pid) for pid in (self.pid, *_children(self.pid)))


def fetch(url: str) -> bytes:
    """The body of one GET."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().read()
    finally:
        connection.close()


@contextlib.contextmanager
def bare() -> Iterator[Serving]:
    """The server that only reads the body."""
    with _module("bench.bare") as serving:
        yield serving


@contextlib.contextmanager
def acknowledging() -> Iterator[Serving]:
    """The server that acknowledges writes as InfluxDB does, and stores nothing."""
    with _module("bench.acknowledging") as serving:
        yield serving


@contextlib.contextmanager
def _module(name: str) -> Iterator[Serving]:
    with subprocess.Popen(
        [sys.executable, "-m", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        yield Serving(process.pid, f"http://127.0.0.1:{int(process.stdout.readline())}")
        process.terminate()


@contextlib.contextmanager
def collector(
    influx_url: str,
    state: Path,
    settings: Mapping[str, str] | None = None,
    *,
    role: str = "serve",
) -> Iterator[Serving]:
    """A role of the collector as it is, but for the rate limit: all reports have one sender."""
    public, private = free_port(), free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("COLLECTOR_")},
        "COLLECTOR_LISTEN": f"127.0.0.1:{public}",
        "COLLECTOR_METRICS_LISTEN": f"127.0.0.1:{private}",
        "COLLECTOR_INFLUX_URL": influx_url,
        "COLLECTOR_STATE_DIR": str(state),
        "COLLECTOR_RATE_LIMIT": "0",
        **(settings or {}),
    }
    with (state.parent / f"{state.name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "collector", role], env=environment, stderr=log, stdout=log
        )
    serving = Serving(process.pid, f"http://127.0.0.1:{public}", f"http://127.0.0.1:{private}")
    try:
        wait_ready(serving, process)
        yield serving
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def wait_ready(serving: Serving, process: subprocess.Popen[bytes]) -> None:
    """Until it answers that it is ready."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the collector has ended"
        with contextlib.suppress(OSError):
            if fetch(f"{serving.metrics_url}/readyz") == b"ready\n":
                return
        time.sleep(0.02)
    raise TimeoutError("the collector is not ready")


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in tasks for child in file.read_text().split()]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
