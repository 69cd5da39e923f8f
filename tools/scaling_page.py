"""Generator of the tables in docs/scaling.md: `python -m tools.scaling_page`.

Figures are read from bench/scaling.json and from the sections that `make bench` wrote.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tools.contract import fill, table
from tools.scaling import (
    DAY_S,
    Death,
    Plant,
    Rates,
    Result,
    Stream,
    all_of_influxdb,
    case,
    day_of,
    deaths_of,
    differs,
    most_of_nats,
    simulate,
)

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "scaling.md"
SIZES: Final = (1_000_000, 10_000_000, 100_000_000)
FULL: Final = 0.5
"""The part of its core with which a receiver is full; the rest is for delivery and for deaths."""
RETENTION_DAYS: Final = 90
KEEP_DAYS: Final = 3
ROLLUP_EVERY_S: Final = 900
_STEP_S: Final = 5.0
_TWO_SERVERS: Final = ("two of three NATS servers", most_of_nats)


@dataclass(frozen=True, slots=True)
class Figures:
    """Measured figures; bytes and seconds as their names say."""

    accept_per_s: float
    accept_cpu_us: float
    deliver_per_s: float
    deliver_cpu_us: float
    outbox_bytes: float
    lines: float
    body_bytes: float
    influx_lines_per_s: float
    influx_bytes_a_node: float
    rollup_s_a_million: float
    rollup_mib_at_a_million: float
    publish_per_s: float
    publish_cpu_us: float
    message_bytes: float
    write_per_s: float
    write_cpu_us: float

    @property
    def influx_bytes(self) -> float:
        """Bytes of a report on InfluxDB's disk: those of its nodes, the server's line included."""
        return self.influx_bytes_a_node * (self.lines - 1)

    @property
    def rates(self) -> Rates:
        """The rates of the simulation."""
        return Rates(
            self.accept_cpu_us / 1e6,
            self.deliver_cpu_us / 1e6,
            self.influx_lines_per_s / self.lines,
            self.outbox_bytes,
        )

    @property
    def stream_rates(self) -> Rates:
        """The same where receivers publish to a stream."""
        return replace(self.rates, deliver_s=self.publish_cpu_us / 1e6)

    def stream(self, reports: float) -> Stream:
        """The stream of a day, with writers for its busiest second and one more."""
        writers = math.ceil(busiest_of(reports) / self.write_per_s)
        return Stream(self.publish_per_s, self.write_per_s, writers=writers + 1)


def busiest_of(reports: float) -> float:
    """Reports in the busiest second of a day."""
    return max(day_of(reports)(second) for second in range(DAY_S))


def read(root: Path = ROOT) -> tuple[Figures, dict[str, Any]]:
    """The figures, and what bench/scaling.json holds. Raises ValueError if one is not found."""
    own = json.loads((root / "bench/scaling.json").read_text(encoding="utf-8"))
    sections = json.loads((root / "bench/results.json").read_text(encoding="utf-8"))

    def median(name: str) -> float:
        return float(statistics.median(one[name] for one in own["rounds"]))

    def streamed(name: str) -> float:
        # As deploy/cluster/nats.conf has it.
        rounds = [one for one in own["stream"]["rounds"] if one["sync_interval"] == "always"]
        return float(statistics.median(one[name] for one in rounds))

    def found(section: str, pattern: str) -> float:
        match = re.search(pattern, sections[section])
        if match is None:
            raise ValueError(f"the section {section} says nothing like {pattern!r}")
        return float(match[1].replace(",", ""))

    return Figures(
        accept_per_s=median("accept_per_s"),
        accept_cpu_us=median("accept_cpu_us"),
        deliver_per_s=median("deliver_per_s"),
        deliver_cpu_us=median("deliver_cpu_us"),
        outbox_bytes=median("outbox_bytes"),
        lines=median("lines"),
        body_bytes=own["body_bytes"],
        influx_lines_per_s=found("drain", r"bare client, one connection \| [\d.]+ \| ([\d,]+)"),
        influx_bytes_a_node=found("footprint", r"(\d+) bytes a node and day"),
        rollup_s_a_million=found("rollup", r"1,000,000 \|(?: [\d.]+ \|){2} ([\d.]+)"),
        rollup_mib_at_a_million=found("rollup", r"1,000,000 \|(?: [\d.]+ \|){4} (\d+)"),
        publish_per_s=streamed("publish_per_s"),
        publish_cpu_us=streamed("publish_cpu_us"),
        message_bytes=streamed("message_bytes"),
        write_per_s=streamed("write_per_s"),
        write_cpu_us=streamed("write_cpu_us"),
    ), own


def plant_of(reports: float, figures: Figures) -> Plant:
    """Receivers for the busiest second and one more, data nodes so that one of each may die."""
    busiest = busiest_of(reports)
    receivers = math.ceil(busiest * figures.accept_cpu_us / 1e6 / FULL)
    if reports <= SIZES[0]:
        return Plant(receivers=1, influx_nodes=1, copies=1)
    store = figures.rates.store_per_s
    # Two copies: each report is stored twice, and the rest must hold the busiest second.
    nodes = max(2, math.ceil(2 * busiest / store) + 1)
    needed = reports * KEEP_DAYS * figures.outbox_bytes / (receivers + 1)
    return Plant(
        receivers=receivers + 1, influx_nodes=nodes + nodes % 2, copies=2, outbox_max=2 * needed
    )


def day(
    reports: float,
    figures: Figures,
    fault: Callable[[Plant], Sequence[Death]],
    *,
    streamed: bool = False,
) -> Result:
    """A day with a fault in its busiest hour; `streamed`: through JetStream."""
    plant = plant_of(reports, figures)
    return simulate(
        day_of(reports),
        figures.stream_rates if streamed else figures.rates,
        plant,
        fault(plant),
        step_s=_STEP_S,
        stream=figures.stream(reports) if streamed else None,
    )


def tables(root: Path = ROOT) -> dict[str, str]:
    """The generated parts of the page by name."""
    figures, own = read(root)
    return {
        "figures": _figures(figures, own),
        "plan": _plan(figures),
        "days": _days(figures),
        "case": _case(own),
    }


def _figures(f: Figures, own: dict[str, Any]) -> str:
    rows = [
        ("receiver, one worker", "accepts while InfluxDB is away", f"{f.accept_per_s:,.0f}/s"),
        ("", "delivers what waits, nothing else to do", f"{f.deliver_per_s:,.0f}/s"),
        ("", "the same in lines", f"{f.deliver_per_s * f.lines:,.0f} lines/s"),
        ("", "processor time to accept a report", f"{f.accept_cpu_us:.0f} µs"),
        ("", "processor time to deliver one", f"{f.deliver_cpu_us:.0f} µs"),
        ("", "a waiting report in the outbox", f"{f.outbox_bytes:,.0f} bytes"),
        ("", "lines of a report; bytes of its body", f"{f.lines:.2f}; {f.body_bytes:,.0f}"),
        ("InfluxDB 1.6.7", "stores, of one client (Drain)", f"{f.influx_lines_per_s:,.0f} lines/s"),
        ("", "a report on its disk (Footprint)", f"{f.influx_bytes:,.0f} bytes"),
        ("publisher", "a rollup of 1 M reports (Rollup)", f"{f.rollup_s_a_million:.1f} s"),
        ("", "its memory (Rollup)", f"{f.rollup_mib_at_a_million:.0f} MiB"),
        ("", "another one has published after a `kill -9` of the one at work", _takeover(own)),
        (
            "receiver, to three NATS servers",
            "publishes what waits",
            f"{f.publish_per_s:,.0f}/s",
        ),
        ("", "processor time to publish a report", f"{f.publish_cpu_us:.0f} µs"),
        ("", "a report in the stream", f"{f.message_bytes:,.0f} bytes"),
        ("writer", "stores what waits in the stream", f"{f.write_per_s:,.0f}/s"),
        ("", "processor time to store a report", f"{f.write_cpu_us:.0f} µs"),
    ]
    loads = [one["load"] for one in own["stream"]["rounds"]] + [own["takeover"]["load"]]
    note = (
        f"\nTaken {own['made']} on {own['machine']}. Names in brackets are sections of"
        " [performance.md](performance.md). Other work ran beside the last six rows: the load was"
        f" {min(loads):.0f} to {max(loads):.0f} on these cores, so what is counted a second is less"
        " than the programs can do.\n"
    )
    return table(("role", "what", "measured"), rows) + note


def _plan(f: Figures) -> str:
    heads = ["", *(f"{size // 1_000_000} M a day" for size in SIZES)]
    plants = [plant_of(size, f) for size in SIZES]
    busiest = [busiest_of(size) for size in SIZES]
    rollup = [size / 1e6 * f.rollup_s_a_million for size in SIZES]
    rows = [
        ("reports a second, on average", *(f"{size / DAY_S:,.0f}" for size in SIZES)),
        ("in the busiest second", *(f"{one:,.0f}" for one in busiest)),
        ("receivers of one worker, one to spare", *(str(one.receivers) for one in plants)),
        (
            "outbox of each for 72 h",
            *(
                _size(size * KEEP_DAYS * f.outbox_bytes / one.receivers)
                for size, one in zip(SIZES, plants, strict=True)
            ),
        ),
        ("with JetStream: writers, one to spare", *(str(f.stream(size).writers) for size in SIZES)),
        ("InfluxDB's data nodes", *(str(one.influx_nodes) for one in plants)),
        ("copies of each report", *(str(one.copies) for one in plants)),
        ("raw data a day, one copy", *(_size(size * f.influx_bytes) for size in SIZES)),
        (
            "disk of a data node for 90 days",
            *(
                _size(size * f.influx_bytes * RETENTION_DAYS * one.copies / one.influx_nodes)
                for size, one in zip(SIZES, plants, strict=True)
            ),
        ),
        (
            "network into the receivers, busiest second",
            *(f"{one * f.body_bytes * 8 / 1e6:,.0f} Mbit/s" for one in busiest),
        ),
        ("one rollup of the open day", *(f"{one:,.0f} s" for one in rollup)),
        ("of its quarter of an hour", *(f"{one / ROLLUP_EVERY_S:.0%}" for one in rollup)),
    ]
    return table(heads, rows)


def _days(f: Figures) -> str:
    rows = []
    direct = (("one of each kind", deaths_of), ("all of raw data's InfluxDB", all_of_influxdb))
    both = [("InfluxDB", SIZES, direct), ("JetStream", SIZES[1:], (*direct, _TWO_SERVERS))]
    for to, sizes, faults in both:
        for size, (away, fault) in itertools.product(sizes, faults):
            done = day(size, f, fault, streamed=to == "JetStream")
            rows.append(
                (
                    f"{size // 1_000_000} M",
                    to,
                    away,
                    f"{done.lost:,.0f}",
                    f"{done.most_waiting_to_be_accepted:,.0f}",
                    f"{done.most_in_an_outbox:,.0f}",
                    _size(done.most_in_an_outbox * f.outbox_bytes),
                    f"{done.most_in_the_stream:,.0f}",
                    _size(done.most_in_the_stream * f.message_bytes),
                    f"{done.longest_unstored_s:,.0f} s",
                )
            )
    heads = (
        "a day of",
        "receivers deliver to",
        "away for an hour",
        "lost",
        "most waiting for a receiver",
        "most in one outbox",
        "its size",
        "most in the stream",
        "its size",
        "oldest not stored",
    )
    return table(heads, rows)


def _case(own: dict[str, Any]) -> str:
    rows = [
        (
            f"{one['case_backlog']:,.0f}",
            f"{one['case_arrivals_per_s']:,.0f}/s for {one['case_load_s']:.1f} s",
            f"{one['case_drained_s']:.1f} s",
            f"{done.drained_s:.1f} s",
            f"{differs(done.drained_s, one['case_drained_s']):.0%}",
        )
        for done, one in case(own["rounds"])
    ]
    heads = ("waiting at first", "arriving", "all stored after, measured", "simulated", "apart")
    return table(heads, rows)


def _takeover(own: dict[str, Any]) -> str:
    times = [one["published_s"] for one in own["takeover"]["rounds"]]
    lease = f"lease of {own['takeover']['lease_s']} s"
    return f"{min(times):.0f} to {max(times):.0f} s, {len(times)} times ({lease})"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(fill(page, tables(), "tools.scaling_page"), encoding="utf-8")
