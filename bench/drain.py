"""A backlog delivered to InfluxDB, against a client that posts the same lines, prepared."""

from __future__ import annotations

import asyncio
import http.client
import os
import tempfile
import time
import urllib.parse
from pathlib import Path
from typing import Final

from bench import servers
from bench.load import client_bodies
from bench.report import record, table
from bench.servers import Serving
from collector.influx import Influx
from collector.influx.databases import ensure
from collector.outbox import FILE, Entry, OutboxFile
from collector.parts import retention
from collector.problems import Refusal
from collector.schema import RAW
from collector.schema.budgets import ASL_BUDGETS
from collector.settings import load
from collector.state import KEY_BYTES
from tools.embedded import EmbeddedInflux
from tools.simulation.sending import converter_of_past

_SERVERS: Final = 3000
_LINES: Final = 5000
_COMMIT: Final = 2000


async def main(reports: int = 1_000_000) -> None:
    """Measure, and write the section."""
    bodies = client_bodies(_SERVERS)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        state = folder / "state"
        state.mkdir(mode=0o700)
        lines = _fill(state, bodies, reports)
        async with EmbeddedInflux(folder / "bare") as influx:
            await _make(influx.url)
            bare = await asyncio.to_thread(_post, influx.url, folder / "lines")
        async with EmbeddedInflux(folder / "influx") as influx:
            await _make(influx.url)
            begun = time.perf_counter()
            ours_settings = {"COLLECTOR_OUTBOX_MAX": "8GiB"}
            with servers.collector(influx.url, state, ours_settings) as ours:
                await asyncio.to_thread(_wait, ours, lines)
                drained = time.perf_counter() - begun
    rows = [
        ("bare client, one connection", f"{bare:.1f}", f"{lines / bare:,.0f}", "1.00"),
        ("`collector serve`", f"{drained:.1f}", f"{lines / drained:,.0f}", f"{bare / drained:.2f}"),
    ]
    text = (
        f"{reports:,} reports, {lines:,} lines, that wait in an outbox, and the same lines posted"
        f" to the same InfluxDB anew, {_LINES} in a request. The collector's time begins with its"
        " process.\n\n" + table(("", "s", "lines/s", "ratio"), rows)
    )
    record("drain", "Drain", text)


def _wait(ours: Serving, lines: int) -> None:
    # What it has written is exact; what waits it measures every few seconds only.
    while ours.metric("collector_writer_lines_total", target="influx", outcome="written") < lines:
        time.sleep(0.1)


def _fill(state: Path, bodies: list[bytes], reports: int) -> int:
    """An outbox of so many reports, and a file of the same lines; how many lines."""
    converter = converter_of_past(
        os.urandom(KEY_BYTES), instance=0, budgets=ASL_BUDGETS, memory_days=90
    )
    lines = count = 0
    with OutboxFile(state / FILE) as file, (state.parent / "lines").open("wb") as plain:
        while count < reports:
            batch: list[Entry] = []
            for body in bodies[: min(_COMMIT, reports - count)]:
                outcome = converter.of(body, time.time_ns())
                if not isinstance(outcome, Refusal):
                    batch.append(outcome.entry)
            with file.transaction():
                file.insert(*batch)
            plain.writelines(entry.lines + b"\n" for entry in batch)
            lines += sum(entry.points for entry in batch)
            count += len(batch)
    return lines


async def _make(url: str) -> None:
    async with Influx(url) as influx:
        await ensure(influx, retention(load()))


def _post(url: str, path: Path) -> float:
    """Seconds in which a client that does nothing else has posted the lines."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=600)
    begun = time.perf_counter()
    with path.open("rb") as file:
        while batch := b"".join(line for line, _ in zip(file, range(_LINES), strict=False)):
            connection.request("POST", f"/write?db={RAW}&precision=ns", batch)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 204, answer.status
    connection.close()
    return time.perf_counter() - begun
