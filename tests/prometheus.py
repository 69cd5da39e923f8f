"""Runs a real Prometheus with given samples: the one on PATH, or the unpacked one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from tools import embedded
from tools.dashboards.asked import ROOT

UNPACKED = [ROOT / ".local" / package / "usr/bin" for package in ("prometheus", "promtool")]
MISSING = "Prometheus or its promtool is not here: `make dev` unpacks Debian's"
START_TIMEOUT = 30.0

Sample = tuple[str, dict[str, str], int, float]
"""Metric, labels, time (s), value."""


def program(name: str) -> Path | None:
    """The path of `prometheus` or `promtool`; None if it is not installed."""
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(map(str, UNPACKED)))
    return Path(found) if found else None


def is_here() -> bool:
    """Whether `running` has the programs that it needs."""
    return program("prometheus") is not None and program("promtool") is not None


def openmetrics(samples: Sequence[Sample]) -> str:
    """Format samples as OpenMetrics, by metric; a name that ends in `_total` is a counter."""
    parts = []
    for name in sorted({sample[0] for sample in samples}):
        family = name.removesuffix("_total")
        parts.append(f"# TYPE {family} {'counter' if family != name else 'gauge'}")
        rows = [sample for sample in samples if sample[0] == name]
        for _, labels, at, value in sorted(rows, key=lambda row: (sorted(row[1].items()), row[2])):
            shown = ",".join(f"{key}={json.dumps(text)}" for key, text in sorted(labels.items()))
            parts.append(f"{name}{{{shown}}} {value} {at}")
    return "\n".join([*parts, "# EOF", ""])


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str
    http: urllib3.PoolManager

    def range(self, query: str, since: int, until: int, step: int) -> list[dict[str, Any]]:
        """The series of a range query, as the API returns them."""
        fields = {"query": query, "start": str(since), "end": str(until), "step": str(step)}
        answer = self.http.request("GET", f"{self.url}/api/v1/query_range", fields=fields)
        body = json.loads(answer.data)
        assert body["status"] == "success", f"{query}: {body}"
        found: list[dict[str, Any]] = body["data"]["result"]
        return found


@contextmanager
def running(directory: Path, samples: Sequence[Sample]) -> Iterator[Prometheus]:
    """Run a Prometheus with these samples, which scrapes nothing, from entry to exit."""
    server, tool = program("prometheus"), program("promtool")
    assert server is not None
    assert tool is not None
    directory.mkdir(parents=True, exist_ok=True)
    data = directory / "data"
    if samples:
        text = directory / "samples.txt"
        text.write_text(openmetrics(samples), encoding="utf-8")
        subprocess.run(
            [
                tool,
                "tsdb",
                "create-blocks-from",
                # Blocks of two hours, the default, would take longer than the rest of a test.
                "--max-block-duration=1000h",
                "openmetrics",
                text,
                data,
            ],
            check=True,
            capture_output=True,
        )
    config = directory / "prometheus.yml"
    config.write_text("{}\n", encoding="utf-8")
    port = embedded.free_port()
    log = directory / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                server,
                f"--config.file={config}",
                f"--storage.tsdb.path={data}",
                "--storage.tsdb.retention.time=100y",
                f"--web.listen-address={embedded.HOST}:{port}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    url = f"http://{embedded.HOST}:{port}"
    try:
        with urllib3.PoolManager(retries=False, timeout=30) as http:
            _wait(http, url, process, log)
            yield Prometheus(url, http)
    finally:
        process.terminate()
        process.wait(30)


def _wait(http: urllib3.PoolManager, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if http.request("GET", f"{url}/-/ready").status == 200:
                return
        except urllib3.exceptions.HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"Prometheus was not ready:\n{log.read_text()}")
