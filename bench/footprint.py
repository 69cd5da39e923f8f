"""Memory, start-up time, and what a node costs on disk."""

from __future__ import annotations

import asyncio
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from bench import servers, years
from bench.load import Wrk, client_bodies
from bench.report import record, table
from collector.influx import Influx
from collector.influx.databases import ensure
from collector.schema import DAILY, RAW
from collector.schema.budgets import ASL_BUDGETS
from tools.embedded import EmbeddedInflux
from tools.simulation.fleet import Fleet
from tools.simulation.sending import converter_of_past, lay_down

_REQUESTS: Final = 1_000_000
_BURST_S: Final = 20
_SERVERS: Final = 5000
_DAYS: Final = 8
_SIZES: Final = (10_000, 100_000, 1_000_000)
_SAMPLES: Final = 3
_YEAR_DAYS: Final = 364
_LOOK_S: Final = 3.0
_LOOKS, _AT_REST, _MOST_LOOKS = 10, 5, 100


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
    raw_place, daily_place = folder / "raw", folder / "daily"
    async with EmbeddedInflux(raw_place) as server, Influx(server.url) as influx:
        await ensure(influx, {RAW: 0})
        converter = converter_of_past(bytes(32), instance=0, budgets=ASL_BUDGETS, memory_days=90)
        tally = await lay_down(
            (fleet.day(day) for day in days), converter, influx, done=lambda: None
        )
    samples = await years.sampled(folder, _SAMPLES)
    async with EmbeddedInflux(daily_place) as server, Influx(server.url) as influx:
        await ensure(influx, {DAILY: 0})
        shape = await years.lay_years(influx, samples, _YEAR_DAYS)
    nodes = tally.points - tally.accepted
    raw = await _settled(raw_place, RAW) / nodes
    series = await _settled(daily_place, DAILY) / _YEAR_DAYS
    rows = [
        (
            f"{size:,}",
            _written(raw * size),
            _written(raw * size * 90),
            _written(raw * size * 90 + series * 3650),
            _written(raw * size * 3650 + series * 3650),
        )
        for size in _SIZES
    ]
    heads = ("nodes", "raw, a day", "raw, 90 days", "10 years, raw for 90 days", "10 years of both")
    return (
        f"On InfluxDB's disk once it has compacted what it holds: {raw:.0f} bytes a node and day of"
        f" raw reports, of a simulated fleet of {nodes // _DAYS:,} nodes over {_DAYS} days. The"
        f" daily series of {shape.nodes:,} nodes take {series / 1024:.1f} KiB a day, laid down for"
        f" {_YEAR_DAYS} days, {_written(series * 3650)} in 10 years: they grow with the versions"
        " and platforms in use rather than with the nodes.\n\n" + table(heads, rows)
    )


async def _settled(place: Path, database: str) -> int:
    """Bytes on disk of a database when InfluxDB has moved its log to its files and is at rest."""
    async with EmbeddedInflux(place, compact_after="5s"):
        seen: list[int] = []
        while len(seen) < _LOOKS or len(set(seen[-_AT_REST:])) > 1:
            await asyncio.sleep(_LOOK_S)
            seen.append(_size(place, database))
            assert len(seen) < _MOST_LOOKS, seen
    return seen[-1]


def _size(place: Path, database: str) -> int:
    # Files are preallocated: what counts is the blocks in use.
    return sum(
        path.stat().st_blocks * 512
        for path in place.rglob("*")
        if path.is_file() and database in path.parts
    )


def _written(count: float) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1024:.0f} KiB"
