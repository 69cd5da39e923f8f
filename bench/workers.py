"""Reports taken in by several workers, against one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from bench import servers
from bench.load import Wrk, client_bodies
from bench.report import middle, record, table
from tools.embedded import EmbeddedInflux

_ROUNDS: Final = 5
_ROUND_S: Final = 4


async def main() -> None:
    """Measure, and write the section."""
    cores = os.cpu_count() or 1
    numbers = [1, *(number for number in (2, 4, 8) if number <= max(2, cores))]
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        wrk = Wrk(client_bodies(3000), folder)
        rates: dict[int, list[float]] = {number: [] for number in numbers}
        async with EmbeddedInflux(folder / "influx") as influx:
            for turn in range(_ROUNDS):
                for number in numbers:
                    state = folder / f"state-{number}-{turn}"
                    setting = {"COLLECTOR_WORKERS": str(number)}
                    with servers.collector(influx.url, state, setting) as ours:
                        wrk.run(ours.url, seconds=1)
                        rates[number].append(wrk.run(ours.url, seconds=_ROUND_S).rate)
    ratios = {
        number: [mine / one for mine, one in zip(rates[number], rates[1], strict=True)]
        for number in numbers
    }
    rows = [
        (number, f"{middle(rates[number]):,.0f}", f"{middle(ratios[number]):.2f}")
        for number in numbers
    ]
    text = (
        f"On {cores} cores that InfluxDB and the load have a part of too, so that more workers"
        " than are free of those cannot help; "
        f"{_ROUNDS} rounds of {_ROUND_S} s in turn.\n\n"
        + table(("workers", "reports/s", "ratio"), rows)
    )
    record("workers", "Workers", text)
