"""What a receiver publishes to three NATS servers a second, and what a writer stores from there.

`python -m bench.stream` adds its rounds to bench/scaling.json, which docs/scaling.md is made from.
Each thing is measured by itself: an outbox that filled while NATS was away, then a stream that
filled while no writer ran.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench import servers
from bench.load import Wrk, client_bodies
from bench.report import machine
from bench.scaling import FILE, measured
from collector.outbox import FILE as OUTBOX
from collector.outbox.peek import peek
from tools.embedded import EmbeddedInflux
from tools.nats import NatsCluster

_SERVERS: Final = 3000
_ROUNDS: Final = 6
_FILL_S: Final = 3
_LOOK_S: Final = 0.02
_SYNCED: Final = {"always": ["sync_interval: always"], "2m": []}
"""Settings of JetStream by their `sync_interval`; the second is NATS's default."""


async def main() -> None:
    """Measure some rounds with each `sync_interval` in turn, and write them."""
    bodies = client_bodies(_SERVERS)
    rounds = []
    for number in range(_ROUNDS):
        for synced, options in _SYNCED.items():
            with tempfile.TemporaryDirectory() as directory:
                folder = Path(directory)
                wrk = Wrk(bodies, folder)
                found = await asyncio.to_thread(_round, folder, wrk, options)
                rounds.append({"sync_interval": synced, "load": os.getloadavg()[0], **found})
                print(number, rounds[-1])
    whole = json.loads(FILE.read_text(encoding="utf-8"))
    whole["stream"] = {
        "made": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "rounds": rounds,
    }
    FILE.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def _round(folder: Path, wrk: Wrk, options: list[str]) -> dict[str, float]:
    influx = EmbeddedInflux(folder / "influx")
    cluster = NatsCluster(folder, jetstream=options)
    settings = {
        "COLLECTOR_OUTBOX_MAX": "8GiB",
        "COLLECTOR_NATS_URL": cluster.urls,
        "COLLECTOR_NATS_STREAM_MAX": "4GiB",
    }
    try:
        with servers.collector(influx.url, folder / "receive", settings, role="receive") as ours:
            wrk.run(ours.url, seconds=_FILL_S)
            accepted, _ = measured(ours)
            cluster.start()
            outbox = folder / "receive" / OUTBOX
            first, cpu = _begun(lambda: accepted - peek(outbox).reports), ours.cpu_seconds()
            began = time.perf_counter()
            _until(lambda: not peek(outbox).reports)
            published = accepted - first
            publishing_s = time.perf_counter() - began
            publish_cpu = ours.cpu_seconds() - cpu
        size = cluster.leader("usage").monitor("jsz")["bytes"]
        influx.start()
        with servers.collector(influx.url, folder / "write", settings, role="write") as writer:
            began_lines, cpu = _begun(lambda: measured(writer)[1]), writer.cpu_seconds()
            began = time.perf_counter()
            total, ended = _last(lambda: measured(writer)[1])
            write_cpu = writer.cpu_seconds() - cpu
        part = 1 - began_lines / total
        return {
            "publish_per_s": published / publishing_s,
            "publish_cpu_us": publish_cpu / published * 1e6,
            "message_bytes": size / accepted,
            "write_per_s": accepted * part / (ended - began),
            "write_cpu_us": write_cpu / (accepted * part) * 1e6,
        }
    finally:
        cluster.kill()
        influx.kill()


def _begun(done: Callable[[], int]) -> int:
    """Wait until something is done; return how much."""
    while not (found := done()):
        time.sleep(_LOOK_S)
    return found


def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(_LOOK_S)


def _last(done: Callable[[], int]) -> tuple[int, float]:
    """Wait until nothing more is done for a while; return how much was, and when it was reached."""
    found, at = done(), time.perf_counter()
    while time.perf_counter() - at < 3:
        time.sleep(_LOOK_S)
        if (now := done()) > found:
            found, at = now, time.perf_counter()
    return found, at


if __name__ == "__main__":
    asyncio.run(main())
