"""A delivery loop from its own outbox to any server at a URL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collector.delivery.influx import InfluxTarget
from collector.delivery.loop import Delivery
from collector.influx import Influx
from collector.influx.databases import ensure
from collector.metrics import Metrics
from collector.outbox import FILE, Entry, Outbox, OutboxFile
from collector.outbox.delivering import DeliveryLock
from collector.privacy import ServerPseudonym
from tests.conftest import Databases
from tests.network import influx_of
from tests.sender import until

SERVER = ServerPseudonym("0123456789abcdef")


def entry(*lines: str) -> Entry:
    return Entry(time.time_ns(), SERVER, len(lines), "\n".join(lines).encode())


def numbered(first: int, last: int) -> list[str]:
    return [f"node_report n={n}i {n}" for n in range(first, last)]


@dataclass
class Delivering:
    """A running delivery loop and its outbox."""

    outbox: Outbox
    loop: Delivery[Any]
    metrics: Metrics
    path: Path

    async def put(self, *lines: str) -> None:
        """Store each line as a separate report."""
        await asyncio.gather(*(self.outbox.append(entry(line)) for line in lines))

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def blocked(self, reason: str) -> bool:
        return self.metric("collector_writer_blocked", target="influx", reason=reason) == 1

    def left(self) -> int:
        with OutboxFile(self.path) as file:
            return file.stats().reports

    def dead(self) -> dict[str, str]:
        """Map the line of each dead letter to its reason."""
        with OutboxFile(self.path) as file:
            return {letter.line.decode(): letter.reason for letter in file.dead_letters()}

    async def emptied(self) -> None:
        await until(lambda: not self.left())


@asynccontextmanager
async def delivering(
    directory: Path,
    to: str | Databases,
    *,
    retention_s: int = 90 * 86_400,
) -> AsyncIterator[Delivering]:
    """Run a delivery loop to a server at a URL, or to the databases of a test."""
    influx_there = Influx(to) if isinstance(to, str) else influx_of(to)
    metrics = Metrics()
    outbox = Outbox(directory / FILE, max_bytes=1 << 30, keep_seconds=3600, metrics=metrics)
    try:
        async with influx_there as influx:
            target = InfluxTarget(
                influx, metrics, lambda: ensure(influx, {"usage_raw": retention_s})
            )
            loop = Delivery(outbox, target, metrics, DeliveryLock(directory))
            task = asyncio.create_task(loop.run())
            try:
                yield Delivering(outbox, loop, metrics, directory / FILE)
            finally:
                loop.stop()
                await task
    finally:
        await outbox.close()
