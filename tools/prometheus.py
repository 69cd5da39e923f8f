"""Debian's Prometheus as a child process on loopback, for the demo and the tests."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from tools.embedded import HOST, Embedded, start_child

ROOT: Final = Path(__file__).resolve().parents[1]
UNPACKED: Final = [ROOT / ".local" / package / "usr/bin" for package in ("prometheus", "promtool")]
"""Folders of the unpacked programs; up to Debian 12 both are in one package."""

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


class EmbeddedPrometheus(Embedded):
    """A Prometheus process; `config` is the text of its configuration.

    Raises PrometheusError if there is none.
    """

    title = "Prometheus"
    error = PrometheusError
    ready = ("/-/ready", http.HTTPStatus.OK)

    def __init__(self, directory: Path, config: str, *, retention: str = "90d") -> None:
        found = program("prometheus")
        if found is None:
            raise PrometheusError("There is no `prometheus`.")
        super().__init__(directory)
        self._program = found
        self._config = config
        self._retention = retention

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
