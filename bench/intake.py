"""Reports taken in, made durable and delivered, against a server that only reads the body."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench import servers
from bench.load import Load, Wrk, client_bodies
from bench.report import middle, record, table
from bench.servers import Serving
from collector.app import tag_budgets
from collector.embedded import EmbeddedInflux
from collector.history.simulate import understanding_of_past
from collector.intakes.understanding import Report
from collector.outbox import Entry, OutboxFile
from collector.problems import Refusal

_SERVERS: Final = 3000
_ROUNDS: Final = 7
_ROUND_S: Final = 4
_HALF_S: Final = 8
_PAUSE_MS: Final = 20
_SETTLE_S: Final = 3.0


async def main(peer: str | None = None) -> None:
    """Measure, and write the section; `peer` is any other server with the same route."""
    bodies = client_bodies(_SERVERS)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        wrk = Wrk(bodies, folder)
        async with EmbeddedInflux(folder / "influx") as influx:
            with servers.bare() as bare, servers.collector(influx.url, folder / "state") as ours:
                for server in (bare, ours):
                    wrk.run(server.url, seconds=2)
                pairs, peers, begun = [], [], ours.cpu_seconds()
                backlog, taken = [ours.metric("collector_outbox_reports")], 0
                for _ in range(_ROUNDS):
                    pairs.append(
                        (
                            wrk.run(bare.url, seconds=_ROUND_S),
                            wrk.run(ours.url, seconds=_ROUND_S),
                        )
                    )
                    taken += pairs[-1][1].requests
                    await asyncio.sleep(_SETTLE_S)
                    backlog.append(ours.metric("collector_outbox_reports"))
                    if peer:
                        peers.append(wrk.run(peer, seconds=_ROUND_S))
                used = (ours.cpu_seconds() - begun) / taken
                rate = middle([mine.rate for _, mine in pairs])
                halves = [_half(wrk, server, rate) for server in (bare, ours)]
        text = _words(pairs, peers, halves, backlog, used)
        record("intake", "Intake", f"{text}\n\n{_stages(bodies, folder)}")


def _half(wrk: Wrk, server: Serving, rate: float) -> Load:
    """Half of a rate, as connections that pause between a report and the next."""
    connections = max(1, round(rate / 2 * _PAUSE_MS / 1000))
    return wrk.run(server.url, seconds=_HALF_S, connections=connections, pause_ms=_PAUSE_MS)


def _words(
    pairs: Sequence[tuple[Load, Load]],
    peers: Sequence[Load],
    halves: Sequence[Load],
    backlog: Sequence[float],
    cpu_s: float,
) -> str:
    columns = [
        ("bare aiohttp + uvloop, reads the body, answers 200", [bare for bare, _ in pairs]),
        ("`collector serve`, one worker, durable, draining", [mine for _, mine in pairs]),
        *([("peer", list(peers))] if peers else []),
    ]
    bare_rates = [bare.rate for bare, _ in pairs]
    rows = []
    for name, loads in columns:
        ratios = [load.rate / bare for load, bare in zip(loads, bare_rates, strict=True)]
        rows.append(
            (
                name,
                f"{middle([load.rate for load in loads]):,.0f}",
                f"{middle(ratios):.2f}",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
                f"{middle([load.p99 for load in loads]) * 1e3:.1f}",
                sum(load.refused + load.broken for load in loads),
            )
        )
    heads = ("server", "reports/s", "ratio", "of", "p99, ms", "not 200")
    p99 = [f"{load.p99 * 1e3:.1f} ms at {load.rate:,.0f}/s" for load in halves]
    times = halves[1].p99 / halves[0].p99
    waiting = ", ".join(f"{count:,.0f}" for count in backlog)
    return (
        f"{_SERVERS} servers of a simulated fleet, the real client's bodies, 128 connections, one"
        f" thread of wrk; {_ROUNDS} rounds of {_ROUND_S} s each, the servers in turn. Reports that"
        " the fleet sends without a public node get 400, as they must.\n\n"
        f"{table(heads, rows)}\n\n"
        f"At half of that rate p99 is {p99[1]}, the bare server's {p99[0]}: {times:.1f} times.\n\n"
        f"Reports that wait for InfluxDB, {_SETTLE_S:.0f} s after each round: {waiting}.\n"
        f"A report costs {cpu_s * 1e6:.0f} µs of processor time in all threads, delivery included."
    )


def _stages(bodies: Sequence[bytes], folder: Path) -> str:
    """Where the time of a report goes that is ours, each stage by itself in a loop."""
    understanding = understanding_of_past(
        bytes(32), instance=0, budgets=tag_budgets(), memory_days=90
    )
    pseudonyms = understanding.identify
    entries: list[Entry] = []
    for body in bodies:
        outcome = understanding.of(body, time.time_ns())
        if not isinstance(outcome, Refusal):
            entries.append(outcome.entry)
    readable = [body for body in bodies if not isinstance(pseudonyms(body), Refusal)]

    def parse(body: bytes) -> object:
        try:
            return Report.model_validate_json(body)
        except ValueError:
            return None

    whole = _each(lambda body: understanding.of(body, time.time_ns()), readable)
    parsed = _each(parse, readable)
    with OutboxFile(folder / "stages.sqlite3") as file:
        begun = time.perf_counter()
        for first in range(0, len(entries), 64):
            with file.transaction():
                for entry in entries[first : first + 64]:
                    file.insert(entry)
        stored = (time.perf_counter() - begun) / len(entries)
        begun = time.perf_counter()
        read = 0
        while batch := file.read(max_lines=5000):
            read += len(batch)
            b"\n".join([entry.lines for entry in batch])
            with file.transaction():
                file.acknowledge(batch, ())
        drained = (time.perf_counter() - begun) / max(1, read)
    rows = [
        ("parse and validate", "loop", f"{parsed * 1e6:.1f}"),
        ("pseudonyms, tags, lines", "loop", f"{(whole - parsed) * 1e6:.1f}"),
        ("outbox: insert, commits of 64", "thread of its own", f"{stored * 1e6:.1f}"),
        ("drain: read a batch, acknowledge", "thread of its own", f"{drained * 1e6:.1f}"),
    ]
    lines = sum(entry.points for entry in entries) / len(entries)
    return (
        f"A report's own stages, each alone ({lines:.1f} lines a report); the rest is aiohttp's,"
        " which the bare server has too, and the passing of work between threads:\n\n"
        + table(("stage", "where", "µs a report"), rows)
    )


def _each(work: Callable[[bytes], object], bodies: Sequence[bytes]) -> float:
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        for body in bodies:
            work(body)
        best = min(best, time.perf_counter() - begun)
    return best / len(bodies)
