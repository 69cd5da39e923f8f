"""Memory, start-up time, and what a node costs on disk."""

from __future__ import annotations

import asyncio
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from bench import servers
from bench.load import Wrk, client_bodies
from bench.report import record, table
from collector.app import tag_budgets
from collector.embedded import EmbeddedInflux
from collector.history.fleet import Fleet
from collector.history.simulate import lay_down, understanding_of_past
from collector.influx import Influx
from collector.influx.databases import ensure
from collector.rollup.cache import FactsCache
from collector.rollup.daily import Daily
from collector.schema import DAILY, RAW

_REQUESTS: Final = 1_000_000
_BURST_S: Final = 20
_SERVERS: Final = 5000
_DAYS: Final = 8
_SIZES: Final = (10_000, 100_000, 1_000_000)
_SETTLED_S: Final = 40.0


async def main() -> None:
    """Measure, and write the section."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        memory = await _memory(folder)
        disk = await _disk(folder)
    record("footprint", "Footprint", f"{memory}\n\n{disk}")


async def _memory(folder: Path) -> str:
    wrk = Wrk(client_bodies(3000), folder)
    starts = []
    async with EmbeddedInflux(folder / "influx") as influx:
        for turn in range(5):
            begun = time.perf_counter()
            with servers.collector(influx.url, folder / f"start-{turn}"):
                starts.append(time.perf_counter() - begun)
        with servers.collector(influx.url, folder / "state") as ours:
            await asyncio.sleep(2)
            idle, done = ours.resident_mib(), 0
            while done < _REQUESTS:
                done += wrk.run(ours.url, seconds=_BURST_S).requests
            after = ours.resident_mib()
    return (
        f"From the process's begin until it is ready: {sorted(starts)[2]:.1f} s. Resident memory:"
        f" {idle:.0f} MiB idle, {after:.0f} MiB after {done:,} requests."
    )


async def _disk(folder: Path) -> str:
    today = datetime.now(UTC).date()
    first = today - timedelta(days=_DAYS)
    fleet = Fleet(seed=1, servers=_SERVERS, start=first, days=_DAYS, growth=0.0)
    days = [first + timedelta(days=n) for n in range(_DAYS)]
    place = folder / "disk"
    async with EmbeddedInflux(place) as server, Influx(server.url) as influx:
        await ensure(influx, {RAW: 0, DAILY: 0})
        understanding = understanding_of_past(
            bytes(32), instance=0, budgets=tag_budgets(), memory_days=90
        )
        await lay_down((fleet.day(day) for day in days), understanding, influx, done=lambda: None)
        daily = Daily(influx, k=5, retention_s=0, cache=FactsCache(folder / "rolled", k=5))
        nodes = 0
        for day in days:
            nodes += (await daily.roll(day, datetime.now(UTC))).nodes
    # Stopped and started again, InfluxDB writes what was in its log to its files.
    async with EmbeddedInflux(place) as server:
        await asyncio.sleep(_SETTLED_S)
        bytes_of = {name: _size(place, name) for name in (RAW, DAILY)}
    raw, series = bytes_of[RAW] / nodes, bytes_of[DAILY] / _DAYS
    rows = [
        (
            f"{size:,}",
            _written(raw * size),
            _written(raw * size * 90),
            _written(series * 3650),
        )
        for size in _SIZES
    ]
    return (
        f"On InfluxDB's disk, of a simulated fleet of {nodes // _DAYS:,} nodes over {_DAYS} days:"
        f" {raw:.0f} bytes a node and day of raw reports; {series / 1024:.0f} KiB a day of daily"
        " series, which grow with the versions and platforms in use rather than with the nodes.\n\n"
        + table(("nodes", "raw, a day", "raw, 90 days", "daily series, 10 years"), rows)
    )


def _size(place: Path, database: str) -> int:
    return sum(
        path.stat().st_size
        for path in place.rglob("*")
        if path.is_file() and database in path.parts
    )


def _written(count: float) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1024:.0f} KiB"
