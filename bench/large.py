"""A day larger than the memory that its rollup may take."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from pathlib import Path

from bench.report import record, table
from bench.rollup import BATCH
from collector.days import day_ns
from collector.influx import Influx
from collector.influx.client import Written
from collector.influx.databases import ensure
from collector.rollup.cache import FactsCache
from collector.rollup.daily import Daily
from collector.rollup.ranges import Plan, plan
from collector.schema import DAILY, NODE_REPORT, RAW, SERVER_REPORT
from tools.embedded import EmbeddedInflux

REPORTS = 5_000_000
SMALL = 1000
MEMORIES = (256 << 20, 1 << 30)


def lines(reports: int, day: date, seed: int) -> Iterator[str]:
    """A report a server, a node a report, 270 series; quick to make."""
    chance = random.Random(seed)
    start, step = day_ns(day), 86_400 * 10**9 // reports // 2 * 2
    tags = [
        (
            f"arch={arch},asl_version=asl3-{n // 3}.{n % 3},asterisk_version=2{n % 3}.{n}.0",
            f"distro=Debian,release={12 + n % 2}",
            channel,
            n,
        )
        for n in range(30)
        for arch in ("aarch64", "x86_64", "armv7l")
        for channel in ("simpleusb", "usbradio", "voter")
    ]
    for number in range(reports):
        first, rest, channel, n = chance.choice(tags)
        bits = chance.getrandbits(128)
        server, node = f"{bits >> 64:016x}", f"{bits & (1 << 64) - 1:016x}"
        at = start + number * step
        yield (
            f'{SERVER_REPORT.name},{first},{rest} server="{server}",nodes=1i,'
            f'uptime={bits % 10**6}i,kernel="6.{n}.0+rpt-rpi-v8",'
            f'packages="{{\\"asl3\\":\\"{n}.0\\"}}" {at}\n'
            f"{NODE_REPORT.name},{first},channel={channel},{rest},registration=http"
            f' node="{node}",server="{server}" {at + 1000}'
        )


async def seed(influx: Influx, reports: int, day: date, number: int) -> None:
    """Write a day; reports are made while InfluxDB takes those before."""
    made = lines(reports, day, number)
    while batch := await asyncio.to_thread(lambda: "\n".join(islice(made, BATCH)).encode()):
        assert isinstance(await influx.write(RAW, batch), Written)


async def main(reports: int = REPORTS) -> None:
    """Measure, and write the section."""
    day = datetime.now(UTC).date() - timedelta(days=2)
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        async with (
            EmbeddedInflux(Path(directory) / "influx") as server,
            Influx(server.url) as influx,
        ):
            await ensure(influx, {RAW: 0, DAILY: 0})
            for back, count in ((40, SMALL), (1, reports // 5), (0, reports)):
                await seed(influx, count, day - timedelta(days=back), back)
            for number, memory in enumerate(MEMORIES):
                state = Path(directory) / str(number)
                # A process of its own, for the sake of its largest memory.
                done = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "bench.large", server.url, str(state), str(memory)),
                    stdout=asyncio.subprocess.PIPE,
                )
                said, _ = await done.communicate()
                assert done.returncode == 0, said.decode()
                measured = json.loads(said.splitlines()[-1])
                print(measured, flush=True)
                rows.append(
                    (
                        f"{memory >> 20:,}",
                        measured["ranges"],
                        f"{measured['day']:.0f}",
                        f"{measured['day'] / (reports / 10**6):.1f}",
                        f"{measured['base']:.0f}",
                        f"{measured['memory']:.0f}",
                    )
                )
    text = (
        f"A UTC day of {reports:,} reports, of a node each, after one of {reports // 5:,} with"
        " other nodes, to which its windows and hours reach back, each in a new process. The base"
        f" is the largest memory of that process after a day of {SMALL:,} reports.\n\n"
        + table(
            (
                "`COLLECTOR_ROLLUP_MEMORY`, MiB",
                "ranges",
                "rollup, s",
                "s a million",
                "base, MiB",
                "largest memory, MiB",
            ),
            rows,
        )
    )
    record("large", "Days larger than memory", text)


def taken() -> float:
    """The largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def measure(url: str, state: Path, memory: int) -> dict[str, float]:
    """Roll up the small day, the eve and the day: seconds of the last, and memory in MiB."""
    last = datetime.now(UTC).date() - timedelta(days=2)
    planned: list[Plan] = []

    def planner(rows: int, units: int) -> Plan:
        planned.append(plan(memory, rows, units))
        return planned[-1]

    seconds, most = 0.0, []
    async with Influx(url) as influx:
        daily = Daily(influx, k=5, retention_s=0, cache=FactsCache(state, k=5), planner=planner)
        for back in (40, 1, 0):
            begun = time.perf_counter()
            result = await daily.roll(last - timedelta(days=back), datetime.now(UTC), force=True)
            assert result.failed is None
            seconds = time.perf_counter() - begun
            most.append(taken())
    return {"day": seconds, "base": most[0], "memory": most[-1], "ranges": planned[-1].ranges}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))))
