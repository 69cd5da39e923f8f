"""Debian's Prometheus as a child process on loopback, for the demo and the tests."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tools.embedded import HOST, free_port, start_child

ROOT: Final = Path(__file__).resolve().parents[1]
UNPACKED: Final = [ROOT / ".local" / package / "usr/bin" for package in ("prometheus", "promtool")]
"""Folders of the unpacked programs; up to Debian 12 both are in one package."""
START_TIMEOUT: Final = 30.0
_STOP_S: Final = 20.0
_LOG_TAIL: Final = 2000

Sample = tuple[str, Mapping[str, str], float, float]
"""Metric, labels, time (s), value."""


class PrometheusError(Exception):
    """Prometheus did not start, or has ended; the text holds the end of its log."""


def program(name: str) -> Path | None:
    """Return the path of `prometheus` or `promtool`; None if it is not installed."""
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(map(str, UNPACKED)))
    return Path(found) if found else None


def is_here() -> bool:
    """Whether there are both programs."""
    return program("prometheus") is not None and program("promtool") is not None


def openmetrics(samples: Iterable[Sample]) -> str:
    """Format samples as OpenMetrics, by metric; a name that ends in `_total` is a counter."""
    rows: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, labels, at, value in samples:
        shown = ",".join(f"{key}={json.dumps(text)}" for key, text in sorted(labels.items()))
        rows.setdefault(name, {}).setdefault(shown, []).append((at, value))
    parts = []
    for name in sorted(rows):
        family = name.removesuffix("_total")
        parts.append(f"# TYPE {family} {'counter' if family != name else 'gauge'}")
        for shown, points in sorted(rows[name].items()):
            parts += [f"{name}{{{shown}}} {value} {at}" for at, value in sorted(points)]
    return "\n".join([*parts, "# EOF", ""])


def lay_samples(directory: Path, samples: Iterable[Sample]) -> None:
    """Write samples as blocks into the data of a server that does not run.

    Raises PrometheusError.
    """
    tool = program("promtool")
    if tool is None:
        raise PrometheusError("There is no `promtool`.")
    directory.mkdir(parents=True, exist_ok=True)
    text = directory / "samples.txt"
    text.write_text(openmetrics(samples), encoding="utf-8")
    done = subprocess.run(  # noqa: S603 - a found promtool
        [
            tool,
            "tsdb",
            "create-blocks-from",
            # Blocks of two hours, the default, would take much longer.
            "--max-block-duration=1000h",
            "openmetrics",
            text,
            directory / "data",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    text.unlink()
    if done.returncode != 0:
        raise PrometheusError(f"promtool did not take the samples:\n{done.stderr}")


class EmbeddedPrometheus:
    """A Prometheus process with its files in `directory` and its HTTP port on loopback.

    `config` is the text of its configuration. It runs from entry to exit, or from `start` to
    `stop`, and ends with the thread that started it. Raises PrometheusError if there is none.
    """

    def __init__(self, directory: Path, config: str, *, retention: str = "90d") -> None:
        found = program("prometheus")
        if found is None:
            raise PrometheusError("There is no `prometheus`.")
        self._program = found
        self.directory = directory
        self.log = directory / "prometheus.log"
        self.port = free_port()
        self._config = config
        self._retention = retention
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of the HTTP API, without a trailing slash."""
        return f"http://{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and return once it answers. Raises PrometheusError."""
        self._start_process()
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def failed(self, how: str) -> PrometheusError:
        """Build an error with the end of the log."""
        tail = self.log.read_text(errors="replace")[-_LOG_TAIL:].strip()
        return PrometheusError(f"Prometheus {how}. Its log:\n{tail}")

    async def __aenter__(self) -> Self:
        # It ends with the thread that starts it, so only the wait is in another thread.
        self._start_process()
        try:
            await asyncio.to_thread(self._wait)
        except BaseException:
            self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _start_process(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "prometheus.yml"
        config.write_text(self._config, encoding="utf-8")
        self._process = start_child(
            [
                self._program,
                f"--config.file={config}",
                f"--storage.tsdb.path={self.directory / 'data'}",
                f"--storage.tsdb.retention.time={self._retention}",
                f"--web.listen-address={HOST}:{self.port}",
            ],
            log=self.log,
            environment=os.environ,
        )

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if not self.running:
                raise self.failed("ended at start")
            if self._answers():
                return
            time.sleep(0.05)
        raise self.failed(f"was not ready in {START_TIMEOUT:.0f} s")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=2)
        try:
            connection.request("GET", "/-/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
