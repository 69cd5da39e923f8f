"""AMI taken in by the collector, beside a reader that only counts messages."""

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
from bench.servers import Serving
from tools.embedded import EmbeddedInflux
from tools.replay.ami_server import SECRET, USER

_RATES: Final = (1_000, 5_000, 20_000, 0)
_ROUND_S: Final = 10.0
_PARTS: Final = 10
_PART_S: Final = 10.0
_LONGEST_S: Final = 60.0


_Count = Callable[[], int]


class _Sender:
    """An Asterisk that sends what it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._asked, self._said = process.stdin, process.stdout
        self.port = int(self._said.readline())

    def round(self, to: Serving, count: _Count, rate: int, seconds: float = _ROUND_S) -> Load:
        """Send for a time, and wait until the reader has counted all of it."""
        before, cpu = count(), to.cpu_seconds()
        self._asked.write(f"{rate} {seconds}\n")
        self._asked.flush()
        sent, took = self._said.readline().split()
        until = time.monotonic() + _LONGEST_S
        while count() - before < int(sent) and time.monotonic() < until:
            time.sleep(0.2)
        return Load(int(sent), count() - before, 0, float(took), to.cpu_seconds() - cpu)


async def main() -> None:
    """Measure, and write the section."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        async with EmbeddedInflux(folder / "influx") as influx:
            with (
                _sender() as plain,
                _bare(plain.port) as (bare, bare_count),
                _sender() as ours,
                servers.collector(influx.url, folder / "state", _file(folder, ours)) as mine,
            ):
                count = _count_of(mine)
                rows = [
                    (plain.round(bare, bare_count, rate), ours.round(mine, count, rate))
                    for rate in _RATES
                ]
                memory, long = [mine.resident_mib()], []
                for _ in range(_PARTS):
                    long.append(ours.round(mine, count, 0, _PART_S))
                    memory.append(mine.resident_mib())
        record("ami", "AMI", _words(rows, long, memory))


def _file(folder: Path, sender: _Sender) -> dict[str, str]:
    file = folder / "asterisks.toml"
    (folder / "secret").write_text(SECRET)
    file.write_text(
        f'[pbx]\nami = "127.0.0.1:{sender.port}"\nami_user = "{USER}"\nami_secret_file = "secret"\n'
    )
    return {
        "COLLECTOR_ASTERISK_FILE": str(file),
        "COLLECTOR_ASL": "0",
        # Counts reach the metrics at a flush.
        "COLLECTOR_STATSD_FLUSH": "1s",
    }


def _count_of(serving: Serving) -> _Count:
    return lambda: int(serving.metric("collector_ami_events_total", asterisk="pbx"))


@contextlib.contextmanager
def _sender() -> Iterator[_Sender]:
    with _process("bench.ami_send") as process:
        yield _Sender(process)


@contextlib.contextmanager
def _bare(port: int) -> Iterator[tuple[Serving, _Count]]:
    with _process("bench.ami_bare", str(port)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asked, said = process.stdin, process.stdout

        def count() -> int:
            asked.write("\n")
            asked.flush()
            return int(said.readline())

        yield Serving(process.pid, ""), count


@contextlib.contextmanager
def _process(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A Python module as a process, until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-m", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _words(rows: list[tuple[Load, Load]], long: list[Load], memory: list[float]) -> str:
    heads = ("asked for", "sent/s", "bare: of a core", "collector: of a core", "not taken")
    lines = [
        (
            f"{rate:,}/s" if rate else "all",
            f"{mine.rate:,.0f}",
            f"{plain.busy:.2f}",
            f"{mine.busy:.2f}",
            f"{max(0, mine.uncounted):,}",
        )
        for rate, (plain, mine) in zip(_RATES, rows, strict=True)
    ]
    plain, mine = rows[-1]
    sizes = ", ".join(f"{size:.0f}" for size in memory)
    return (
        "Events of the recorded sessions, one after the other on one connection, a flush every"
        f" second to InfluxDB; rounds of {_ROUND_S:.0f} s, the two in turn. The bare reader splits"
        " at the empty lines and counts.\n\n"
        f"{table(heads, lines)}\n\n"
        f"As fast as it reads, the collector takes {mine.taken / mine.cpu_s:,.0f} events for each"
        f" second of a core, the bare reader {plain.taken / plain.cpu_s:,.0f}.\n\n"
        f"{sum(one.taken for one in long):,} of {sum(one.sent for one in long):,} events, as fast"
        f" as it reads: resident memory before and after each tenth, MiB: {sizes}."
    )


if __name__ == "__main__":
    asyncio.run(main())
