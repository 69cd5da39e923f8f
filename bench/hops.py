"""Reports through a stream of three NATS servers and a writer, beside `collector serve` alone."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from bench import servers
from bench.load import Load, Wrk, client_bodies
from bench.report import middle, record, table
from bench.servers import Serving
from tools.embedded import EmbeddedInflux
from tools.nats import NatsCluster

_ROUNDS: Final = 3
_ROUND_S: Final = 4
_LOOK_S: Final = 0.05
_QUIET_S: Final = 3.0
_ALONE: Final = "`collector serve`"
_HOPS: Final = "`collector receive`, three NATS servers, `collector write`"


class _Round(NamedTuple):
    """What the load saw, reports stored a second from its begin to the last, and CPU a report."""

    load: Load
    stored_rate: float
    cpu_us: float


async def main() -> None:
    """Measure, and write the section."""
    rounds: dict[str, list[_Round]] = {_ALONE: [], _HOPS: []}
    bodies = client_bodies(3000)
    for _ in range(_ROUNDS):
        for name, found in rounds.items():
            with tempfile.TemporaryDirectory() as directory:
                found.append(await _round(Path(directory), bodies, hops=name == _HOPS))
    rows = []
    for name, found in rounds.items():
        pairs = list(zip(found, rounds[_ALONE], strict=True))
        rows.append(
            (
                name,
                f"{middle([one.load.rate for one in found]):,.0f}",
                f"{middle([one.load.rate / alone.load.rate for one, alone in pairs]):.2f}",
                f"{middle([one.load.p99 for one in found]) * 1e3:.1f}",
                f"{middle([one.stored_rate for one in found]):,.0f}",
                f"{middle([one.stored_rate / alone.stored_rate for one, alone in pairs]):.2f}",
                f"{middle([one.cpu_us for one in found]):.0f}",
            )
        )
    heads = ("", "reports/s", "ratio", "p99, ms", "stored/s", "ratio", "CPU a report, µs")
    text = (
        "Load, InfluxDB and all processes share the cores of one machine, so the second row pays"
        " for everything that runs elsewhere in a cluster. *Stored* counts from the begin of the"
        " load until InfluxDB has the last report; *CPU* is of the collector's own processes."
        f" {_ROUNDS} rounds of {_ROUND_S} s, in turn.\n\n" + table(heads, rows)
    )
    record("hops", "Through JetStream", text)


async def _round(folder: Path, bodies: list[bytes], *, hops: bool) -> _Round:
    wrk = Wrk(bodies, folder)
    async with EmbeddedInflux(folder / "influx") as influx:
        with _pipeline(folder, influx.url, hops=hops) as processes:
            begun, cpu = time.perf_counter(), sum(one.cpu_seconds() for one in processes)
            load = wrk.run(processes[0].url, seconds=_ROUND_S)
            accepted = processes[0].metric("collector_reports_total", outcome="accepted")
            seconds = _last_stored(processes[-1]) - begun
            used = sum(one.cpu_seconds() for one in processes) - cpu
    return _Round(load, accepted / seconds, used / accepted * 1e6)


@contextlib.contextmanager
def _pipeline(folder: Path, influx_url: str, *, hops: bool) -> Iterator[list[Serving]]:
    """The processes of the collector, that which takes reports first."""
    big = {"COLLECTOR_OUTBOX_MAX": "8GiB"}
    with contextlib.ExitStack() as stack:

        def start(name: str, role: str, settings: Mapping[str, str]) -> Serving:
            chosen = {**big, **settings}
            return stack.enter_context(
                servers.collector(influx_url, folder / name, chosen, role=role)
            )

        if not hops:
            yield [start("serve", "serve", {})]
            return
        cluster = NatsCluster(folder)
        stack.callback(cluster.kill)
        cluster.start()
        nats = {"COLLECTOR_NATS_URL": cluster.urls, "COLLECTOR_NATS_STREAM_MAX": "4GiB"}
        yield [start("receive", "receive", nats), start("write", "write", nats)]


def _last_stored(writer: Serving) -> float:
    """Wait until nothing more is stored; return when the last lines were (`perf_counter`)."""
    lines, at = 0.0, time.perf_counter()
    while time.perf_counter() - at < _QUIET_S:
        time.sleep(_LOOK_S)
        now = writer.metric("collector_writer_lines_total", target="influx", outcome="written")
        if now > lines:
            lines, at = now, time.perf_counter()
    return at
