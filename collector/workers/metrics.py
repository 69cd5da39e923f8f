"""The metrics page of the parent: the samples of all workers as one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from collector.health import Handler
from collector.metrics import Metrics


class _AllMetrics(Collector):
    """The metrics of all workers together, and the parent's own open connections."""

    def __init__(self, figures: Path, own: Metrics) -> None:
        self._own = own
        self._workers = MultiProcessCollector(None, str(figures))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        """Yield each metric once, with the samples of every process."""
        (own,) = self._own.connections.collect()
        for metric in self._workers.collect():  # type: ignore[no-untyped-call]
            if metric.name == own.name:
                metric.samples = [*metric.samples, *own.samples]
            yield metric


def metrics_page(figures: Path, own: Metrics) -> Handler:
    """A handler of /metrics; `figures` is the folder of the workers' samples."""

    def page() -> bytes:
        registry = CollectorRegistry()
        registry.register(_AllMetrics(figures, own))
        return generate_latest(registry)

    async def metrics(_request: web.Request) -> web.Response:
        own.refresh()
        return web.Response(
            body=await asyncio.to_thread(page), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    return metrics
