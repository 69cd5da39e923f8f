"""What a receiver and its InfluxDB can do, and a small case that the simulation must reproduce.

`python -m bench.scaling` writes bench/scaling.json, which docs/scaling.md and `tools.scaling` use.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench import servers
from bench.load import Wrk, client_bodies
from bench.report import machine
from bench.servers import Serving
from tools.embedded import EmbeddedInflux

FILE: Final = Path(__file__).with_name("scaling.json")
_SERVERS: Final = 3000
_ROUNDS: Final = 3
_FILL_S: Final = 6
_LOAD_S: Final = 3
_QUIET_S: Final = 1.5
_PAUSE_MS: Final = 40
"""Pause of each of wrk's connections in the case: a load that leaves room for delivery."""


def measured(ours: Serving) -> tuple[int, int]:
    """Reports accepted and lines stored since the process began."""
    accepted = ours.metric("collector_reports_total", outcome="accepted")
    lines = ours.metric("collector_writer_lines_total", target="influx", outcome="written")
    return int(accepted), int(lines)


async def main() -> None:
    """Measure some rounds, and write them."""
    bodies = client_bodies(_SERVERS)
    rounds = []
    for number in range(_ROUNDS):
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory)
            rounds.append(await asyncio.to_thread(_round, folder, Wrk(bodies, folder)))
            print(number, rounds[-1])
    made = {
        "made": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "body_bytes": sum(map(len, bodies)) / len(bodies),
        "rounds": rounds,
    }
    FILE.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


def _round(folder: Path, wrk: Wrk) -> dict[str, float]:
    influx = EmbeddedInflux(folder / "influx")
    with servers.collector(influx.url, folder / "state", {"COLLECTOR_OUTBOX_MAX": "8GiB"}) as ours:
        try:
            alone = _alone(ours, influx, wrk)
            return alone | _case(ours, influx, wrk, alone["lines"])
        finally:
            influx.kill()


def _alone(ours: Serving, influx: EmbeddedInflux, wrk: Wrk) -> dict[str, float]:
    """Each thing by itself: accepting while InfluxDB is away, then delivering without a load."""
    cpu, begun = ours.cpu_seconds(), time.perf_counter()
    wrk.run(ours.url, seconds=_FILL_S)
    seconds = time.perf_counter() - begun
    accepted, _ = measured(ours)
    accept_cpu = ours.cpu_seconds() - cpu
    # The gauge of the size is renewed every few seconds.
    time.sleep(6)
    stored = ours.metric("collector_outbox_bytes")
    influx.start()
    first = _first(ours, 0)
    cpu, begun = ours.cpu_seconds(), time.perf_counter()
    lines, ended = _drained(ours)
    took = ended - begun
    return {
        "accept_per_s": accepted / seconds,
        "accept_cpu_us": accept_cpu / accepted * 1e6,
        "outbox_bytes": stored / accepted,
        "lines": lines / accepted,
        "deliver_per_s": (accepted * (1 - first / lines)) / took,
        "deliver_cpu_us": (ours.cpu_seconds() - cpu) / (accepted * (1 - first / lines)) * 1e6,
    }


def _case(ours: Serving, influx: EmbeddedInflux, wrk: Wrk, lines_each: float) -> dict[str, float]:
    """A backlog of an outage that is delivered while reports come in, and after they end."""
    influx.terminate()
    wrk.run(ours.url, seconds=2 * _FILL_S)
    _, lines = measured(ours)
    influx.start()
    _first(ours, lines)
    begun = time.perf_counter()
    before, stored = measured(ours)
    wrk.run(ours.url, seconds=_LOAD_S, pause_ms=_PAUSE_MS)
    load_s = time.perf_counter() - begun
    after, lines = measured(ours)
    _, ended = _drained(ours)
    return {
        "case_backlog": before - stored / lines_each,
        "case_arrivals_per_s": (after - before) / load_s,
        "case_load_s": load_s,
        "case_left": after - lines / lines_each,
        "case_drained_s": ended - begun,
    }


def _first(ours: Serving, before: int) -> int:
    """Wait until more lines are stored than `before`; return how many are."""
    while (lines := measured(ours)[1]) <= before:
        time.sleep(0.02)
    return lines


def _drained(ours: Serving) -> tuple[int, float]:
    """Wait until nothing more is stored; return the number of lines, and when it was reached."""
    lines, at = measured(ours)[1], time.perf_counter()
    while time.perf_counter() - at < _QUIET_S:
        time.sleep(0.02)
        if (now := measured(ours)[1]) > lines:
            lines, at = now, time.perf_counter()
    return lines, at


if __name__ == "__main__":
    asyncio.run(main())
