"""Runs a real Prometheus with given samples: the one on PATH, or the unpacked one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from tests.sender import GUARD_S
from tools.prometheus import (
    EmbeddedPrometheus,
    Sample,
    is_here,
    lay_samples,
    openmetrics,
    program,
)

__all__ = ["MISSING", "Prometheus", "Sample", "is_here", "openmetrics", "program", "running"]

MISSING = "Prometheus or its promtool is not here: `make dev` unpacks Debian's"


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
    server = EmbeddedPrometheus(directory, "{}\n", retention="100y")
    if samples:
        lay_samples(directory, samples)
    server.start()
    try:
        with urllib3.PoolManager(retries=False, timeout=GUARD_S) as http:
            yield Prometheus(server.url, http)
    finally:
        server.terminate()
