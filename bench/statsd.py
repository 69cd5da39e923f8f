"""StatsD taken in by the collector, beside a reader that only counts datagrams."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from bench import servers
from bench.report import record, table
from bench.rounds import Load
from bench.servers import Serving, free_port
from tools.embedded import EmbeddedInflux

_RATES: Final = (10_000, 50_000, 100_000, 0)
_ROUND_S: Final = 8.0
_LONG: Final = 10_000_000
_LONG_RATE: Final = 50_000
_PARTS: Final = 10
_SETTLED_S: Final = 3.0


_Counts = Callable[[], tuple[int, int]]


async def main() -> None:
    """Measure, and write the section."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        async with EmbeddedInflux(folder / "influx") as influx:
            port = free_port()
            settings = {"COLLECTOR_STATSD_LISTEN": f"127.0.0.1:{port}", "COLLECTOR_ASL": "0"}
            with (
                _bare() as (bare, bare_port, bare_counts),
                servers.collector(influx.url, folder / "state", settings) as ours,
            ):
                counts = _counts_of(ours)
                rows = []
                for rate in _RATES:
                    plain = _round(bare, bare_port, bare_counts, rate)
                    mine = _round(ours, port, counts, rate)
                    rows.append((plain, mine))
                memory = [ours.resident_mib()]
                long = []
                for _ in range(_PARTS):
                    seconds = _LONG / _PARTS / _LONG_RATE
                    long.append(_round(ours, port, counts, _LONG_RATE, seconds))
                    memory.append(ours.resident_mib())
        record("statsd", "StatsD", _words(rows, long, memory))


def _round(
    serving: Serving, port: int, counts: _Counts, rate: int, seconds: float = _ROUND_S
) -> Load:
    taken, dropped = counts()
    cpu = serving.cpu_seconds()
    done = subprocess.run(
        [sys.executable, "-m", "bench.statsd_send", str(port), str(rate), str(seconds)],
        check=True,
        capture_output=True,
        text=True,
    )
    sent, took = done.stdout.split()
    # What waits in the socket is taken within a moment; metrics follow each second.
    time.sleep(_SETTLED_S)
    now_taken, now_dropped = counts()
    return Load(
        int(sent),
        now_taken - taken,
        now_dropped - dropped,
        float(took),
        serving.cpu_seconds() - cpu,
    )


def _counts_of(serving: Serving) -> _Counts:
    def counts() -> tuple[int, int]:
        return (
            int(serving.metric("collector_statsd_datagrams_total")),
            int(serving.metric("collector_statsd_dropped_total", reason="kernel")),
        )

    return counts


@contextlib.contextmanager
def _bare() -> Iterator[tuple[Serving, int, _Counts]]:
    with subprocess.Popen(
        [sys.executable, "-m", "bench.statsd_bare"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, said = process.stdin, process.stdout

        def counts() -> tuple[int, int]:
            asked.write("\n")
            asked.flush()
            taken, dropped = said.readline().split()
            return int(taken), int(dropped)

        yield Serving(process.pid, ""), int(said.readline()), counts
        asked.close()


def _words(rows: list[tuple[Load, Load]], long: list[Load], memory: list[float]) -> str:
    heads = (
        "asked for",
        "sent/s",
        "bare: µs each",
        "kernel drops",
        "collector: µs each",
        "kernel drops",
        "uncounted",
    )
    lines = [
        (
            f"{rate:,}/s" if rate else "all",
            f"{mine.rate:,.0f}",
            f"{plain.cost:.1f}",
            f"{plain.dropped:,}",
            f"{mine.cost:.1f}",
            f"{mine.dropped:,}",
            f"{mine.uncounted:,}",
        )
        for rate, (plain, mine) in zip(_RATES, rows, strict=True)
    ]
    full, bare = rows[-1][1], rows[-1][0]
    at_50 = rows[_RATES.index(_LONG_RATE)][1]
    sizes = ", ".join(f"{size:.0f}" for size in memory)
    return (
        "Datagrams of the recorded captures, one after the other from one sender on loopback, a"
        f" flush every 10 s to InfluxDB; rounds of {_ROUND_S:.0f} s, the two in turn, a core for"
        " the sender and one for the reader; µs are processor time in all threads, flushes and"
        " delivery included. The bare reader reads sockets as the collector does"
        " and counts.\n\n"
        f"{table(heads, lines)}\n\n"
        f"As fast as one sender sends, the collector takes {full.taken / full.seconds:,.0f} a"
        f" second, the bare reader {bare.taken / bare.seconds:,.0f}. At {_LONG_RATE:,} it"
        f" uses {at_50.cpu_s / at_50.seconds:.0%} of a core.\n\n"
        f"{sum(one.sent for one in long):,} datagrams at {_LONG_RATE:,} a second:"
        f" {sum(one.dropped for one in long):,} dropped by the kernel and counted,"
        f" {sum(one.uncounted for one in long):,} uncounted. Resident memory before and after each"
        f" tenth, MiB: {sizes}."
    )


if __name__ == "__main__":
    asyncio.run(main())
