"""A day of many reports rolled up, against InfluxDB streaming the same rows to curl."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import uvloop

from bench.report import middle, record, table
from collector.app import tune_interpreter
from collector.days import day_ns
from collector.influx import Influx
from collector.influx.client import CHUNK_ROWS, Written
from collector.influx.databases import ensure
from collector.lines import line, tag_set
from collector.rollup.cache import FactsCache
from collector.rollup.daily import Daily
from collector.rollup.facts import columns
from collector.rollup.raw import span_of
from collector.schema import DAILY, NODE_REPORT, RAW, SERVER_REPORT
from tools.embedded import EmbeddedInflux

BATCH = 10_000
SIZES = {10_000: 25, 100_000: 5, 1_000_000: 3}
"""Reports of a day, and runs: what a small day takes varies more."""


def day_lines(reports: int, day: date, seed: int) -> Iterator[str]:
    """A report a server, a node a report, 270 series: the shape that was measured elsewhere."""
    chance = random.Random(seed)
    start, step = day_ns(day), 86_400 * 10**9 // reports // 2 * 2
    versions = [(f"2{n % 3}.{n}.0", f"asl3-{n // 3}.{n % 3}") for n in range(15)]
    platforms = [("Debian", "12", arch) for arch in ("aarch64", "x86_64", "armv7l")]
    channels = [("simpleusb", "http"), ("usbradio", "http"), ("voter", "iax")]
    for number in range(reports):
        asterisk, asl = chance.choice(versions)
        distro, release, arch = chance.choice(platforms)
        channel, registration = chance.choice(channels)
        tags = {
            "asterisk_version": asterisk,
            "asl_version": asl,
            "distro": distro,
            "release": release,
            "arch": arch,
        }
        server, node = f"{chance.getrandbits(64):016x}", f"{chance.getrandbits(64):016x}"
        at = start + number * step
        yield line(
            SERVER_REPORT.name,
            tag_set(tags),
            {
                "server": server,
                "nodes": 1,
                "uptime": chance.randrange(60 * 86_400),
                "kernel": f"6.{chance.choice((1, 6, 12))}.{chance.randrange(60)}+rpt-rpi-v8",
                "packages": f'{{"asl3":"{asl[5:]}"}}',
            },
            at,
        )
        tags |= {"channel": channel, "registration": registration}
        yield line(NODE_REPORT.name, tag_set(tags), {"node": node, "server": server}, at + 1000)


async def seed(influx: Influx, reports: int, day: date, number: int) -> None:
    """Write a day."""
    batch: list[str] = []
    for text in day_lines(reports, day, number):
        batch.append(text)
        if len(batch) == BATCH:
            assert isinstance(await influx.write(RAW, "\n".join(batch).encode()), Written)
            batch.clear()
    if batch:
        assert isinstance(await influx.write(RAW, "\n".join(batch).encode()), Written)


def stream_with_curl(url: str, day: date) -> float:
    """Seconds in which curl has received the rows that the rollup reads."""
    begun = time.perf_counter()
    for measurement in (NODE_REPORT, SERVER_REPORT):
        chosen = ",".join(columns(measurement))
        query = f"SELECT {chosen} FROM {measurement.name} WHERE {span_of(day, day).where()}"
        subprocess.run(
            [
                *("curl", "-sS", "-o", "/dev/null", "-H", "Accept: application/csv"),
                *("--data-urlencode", f"q={query}"),
                *("-d", f"db={RAW}&epoch=ns&chunked=true&chunk_size={CHUNK_ROWS}"),
                f"{url}/query",
            ],
            check=True,
        )
    return time.perf_counter() - begun


async def main() -> None:
    """Measure, and write the section."""
    rows = []
    for reports, runs in SIZES.items():
        # A process of its own, for the sake of its largest memory.
        done = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.rollup", str(reports)), stdout=asyncio.subprocess.PIPE
        )
        said, _ = await done.communicate()
        assert done.returncode == 0, said.decode()
        measured: dict[str, float] = json.loads(said.splitlines()[-1])
        rows.append(
            (
                f"{reports:,}",
                str(runs),
                f"{measured['curl']:.2f}",
                f"{measured['rollup']:.2f}",
                f"{measured['ratio']:.2f}",
                f"{measured['memory']:.0f}",
            )
        )
    text = (
        "A UTC day of so many reports, of a node each, rolled up and stored by a process that runs"
        " as a collector does, against InfluxDB streaming the same rows to curl, in turn;"
        " medians.\n\n"
        + table(("reports", "runs", "curl, s", "rollup, s", "ratio", "largest memory, MiB"), rows)
    )
    record("rollup", "Rollup", text)


async def measure(reports: int) -> dict[str, float]:
    """The medians of one size."""
    day = datetime.now(UTC).date() - timedelta(days=2)
    runs: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as directory:
        async with (
            EmbeddedInflux(Path(directory) / "influx") as server,
            Influx(server.url) as influx,
        ):
            await ensure(influx, {RAW: 0, DAILY: 0})
            await seed(influx, reports, day - timedelta(days=1), 1)
            await seed(influx, reports, day, 2)
            for _ in range(SIZES[reports]):
                # A collector has one cache for all days; that of the round before is garbage.
                gc.collect()
                cache = FactsCache(Path(directory) / "state", k=5)
                daily = Daily(influx, k=5, retention_s=0, cache=cache)
                await daily.roll(day - timedelta(days=1), datetime.now(UTC))
                curl = stream_with_curl(server.url, day)
                begun = time.perf_counter()
                await daily.roll(day, datetime.now(UTC), force=True)
                runs.append((curl, time.perf_counter() - begun))
    return {
        "curl": middle([curl for curl, _ in runs]),
        "rollup": middle([rolled for _, rolled in runs]),
        "ratio": middle([rolled / curl for curl, rolled in runs]),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    # As in a collector that serves.
    tune_interpreter()
    print(json.dumps(uvloop.run(measure(int(sys.argv[1])))))
