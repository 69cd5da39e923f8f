"""Reports taken in, made durable and delivered, against a server that only reads the body."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from bench import servers
from bench.load import Load, Wrk, client_bodies
from bench.report import middle, record, table
from bench.servers import Serving
from collector.intakes.asl.points import Read
from collector.intakes.asl.report import Report
from collector.outbox import OutboxFile
from collector.problems import Refusal
from collector.schema.budgets import ASL_BUDGETS
from tools.embedded import EmbeddedInflux
from tools.simulation.sending import converter_of_past

_SERVERS: Final = 3000
_ROUNDS: Final = 7
_ROUND_S: Final = 4
_HALVES: Final = 5
_HALF_S: Final = 4
_PAUSE_MS: Final = 20
_SETTLE_S: Final = 3.0

T = TypeVar("T")


async def main(peer: str | None = None) -> None:
    """Measure, and write the section; `peer` is any other server with the same route."""
    bodies = client_bodies(_SERVERS)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        wrk = Wrk(bodies, folder)
        async with EmbeddedInflux(folder / "influx") as influx:
            with (
                servers.bare() as bare,
                servers.acknowledging() as sink,
                servers.collector(influx.url, folder / "state") as ours,
                servers.collector(sink.url, folder / "apart") as apart,
            ):
                for server in (bare, ours, apart):
                    wrk.run(server.url, seconds=2)
                rounds, peers = [], []
                begun = {server: server.cpu_seconds() for server in (bare, ours)}
                backlog, taken = [ours.metric("collector_outbox_reports", target="influx")], 0
                for _ in range(_ROUNDS):
                    found = []
                    for server in (bare, ours, apart):
                        found.append(wrk.run(server.url, seconds=_ROUND_S))
                        if server is not bare:
                            await asyncio.sleep(_SETTLE_S)
                    rounds.append(found)
                    taken += found[1].requests
                    backlog.append(ours.metric("collector_outbox_reports", target="influx"))
                    if peer:
                        peers.append(wrk.run(peer, seconds=_ROUND_S))
                used = (ours.cpu_seconds() - begun[ours]) / taken
                requests = sum(bare.requests for bare, *_ in rounds)
                accept = (bare.cpu_seconds() - begun[bare]) / requests
                rate = middle([mine.rate for _, mine, _ in rounds])
                halves = []
                for _ in range(_HALVES):
                    found = []
                    for server in (bare, ours, apart):
                        await asyncio.sleep(_SETTLE_S)
                        found.append(_half(wrk, server, rate))
                    halves.append(found)
        text = _words(rounds, peers, halves, backlog, used)
        record("intake", "Intake", f"{text}\n\n{_stages(bodies, folder, accept, used)}")


def _half(wrk: Wrk, server: Serving, rate: float) -> Load:
    """Half of a rate, as connections that pause between a report and the next."""
    connections = max(1, round(rate / 2 * _PAUSE_MS / 1000))
    return wrk.run(server.url, seconds=_HALF_S, connections=connections, pause_ms=_PAUSE_MS)


def _words(
    rounds: Sequence[Sequence[Load]],
    peers: Sequence[Load],
    halves: Sequence[Sequence[Load]],
    backlog: Sequence[float],
    cpu_s: float,
) -> str:
    names = (
        "bare aiohttp + uvloop, reads the body, answers 200",
        "`collector serve`, one worker, durable, draining",
        "the same, delivering to a server that only acknowledges",
    )
    columns = [
        *zip(names, map(list, zip(*rounds, strict=True)), strict=True),
        *([("peer", list(peers))] if peers else []),
    ]
    bare_rates = [bare.rate for bare, *_ in rounds]
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
    p99, times = [], []
    for of_server in zip(*halves, strict=True):
        late, rate = middle([one.p99 for one in of_server]), middle([one.rate for one in of_server])
        p99.append(f"{late * 1e3:.1f} ms at {rate:,.0f}/s")
        of_bare = [one.p99 / bare.p99 for one, (bare, *_) in zip(of_server, halves, strict=True)]
        times.append(f"{middle(of_bare):.1f} times")
    waiting = ", ".join(f"{count:,.0f}" for count in backlog)
    return (
        f"{_SERVERS} servers of a simulated fleet, the real client's bodies, 128 connections, one"
        f" thread of wrk; {_ROUNDS} rounds of {_ROUND_S} s each, the servers in turn. Reports that"
        " the fleet sends without a public node get 400, as they must.\n\n"
        f"{table(heads, rows)}\n\n"
        "The third row is the collector without InfluxDB's share of the same cores.\n\n"
        f"At half of that rate, medians of {_HALVES} rounds in turn, p99 is {p99[1]}, the bare"
        f" server's {p99[0]}: {times[1]}; delivering to the server that only acknowledges {p99[2]}:"
        f" {times[2]}.\n\n"
        f"Reports that wait for InfluxDB, {_SETTLE_S:.0f} s after each round: {waiting}.\n"
        f"A report costs {cpu_s * 1e6:.0f} µs of processor time in all threads, delivery included."
    )


def _stages(bodies: Sequence[bytes], folder: Path, accept_s: float, used_s: float) -> str:
    """Where the time of a report goes: each stage by itself in a loop, and what is left."""
    converter = converter_of_past(bytes(32), instance=0, budgets=ASL_BUDGETS, memory_days=90)
    reads: list[Read] = []
    readable: list[bytes] = []
    for body in bodies:
        found = converter.read(body)
        # One that is repaired first is rare, and no measure of the others.
        if not isinstance(found, Refusal) and _parses(body):
            reads.append(found)
            readable.append(body)
    outcomes = [converter.of(body, time.time_ns()) for body in readable]
    entries = [outcome.entry for outcome in outcomes if not isinstance(outcome, Refusal)]
    parse = _each(Report.model_validate_json, readable)
    read = _each(converter.read, readable) - parse
    lines = _each(lambda one: converter.admit(one, lambda _server: False, time.time_ns()), reads)
    with OutboxFile(folder / "stages.sqlite3") as file:
        begun = time.process_time()
        for first in range(0, len(entries), 64):
            file.append(*entries[first : first + 64])
        stored = (time.process_time() - begun) / len(entries)
        begun, drained = time.process_time(), 0
        while batch := file.read(max_lines=5000):
            drained += len(batch)
            b"\n".join([entry.lines for entry in batch])
            with file.transaction():
                file.acknowledge(batch, ())
        drain = (time.process_time() - begun) / max(1, drained)
    stages = [
        ("validate: parse the JSON into its model", "loop", parse),
        ("public nodes, the server's pseudonym", "loop", read),
        ("nodes' pseudonyms, tags, lines", "loop", lines),
        ("outbox: insert and commit, 64 at a time", "thread of its own", stored),
        ("drain: read a batch, check it, acknowledge", "thread of its own", drain),
    ]
    rest = used_s - sum(seconds for _, _, seconds in stages)
    stages.insert(
        0,
        (
            "the rest: HTTP, limits, metrics, sending to InfluxDB, cold caches",
            "both",
            rest,
        ),
    )
    points = sum(entry.points for entry in entries) / len(entries)
    return (
        "Where a report's processor time goes. The sum was measured under load, each stage but the"
        f" first by itself ({points:.1f} lines a report); the first is what is left. The bare"
        f" server takes {accept_s * 1e6:.1f} µs a request in all.\n\n"
        + table(
            ("stage", "where", "µs a report"),
            [
                *((name, where, f"{seconds * 1e6:.1f}") for name, where, seconds in stages),
                ("all", "", f"{used_s * 1e6:.1f}"),
            ],
        )
    )


def _parses(body: bytes) -> bool:
    try:
        Report.model_validate_json(body)
    except ValueError:
        return False
    return True


def _each(work: Callable[[T], object], given: Sequence[T]) -> float:
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        for one in given:
            work(one)
        best = min(best, time.perf_counter() - begun)
    return best / len(given)
