"""Makes a day's facts from a few reports, through CSV in the format of InfluxDB's answers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

from collector.rollup.facts import DayFacts, Rows, columns, gather
from collector.rollup.windows import Presence, moves_of
from collector.rollup.windows import upgrades as counted
from collector.schema import NODE_REPORT, SERVER_REPORT, Measurement
from tests.oracle import HOUR

Cells = list[str]


@dataclass(frozen=True)
class One:
    """A report of a server whose nodes have the same properties; a day's are in order of time."""

    nodes: tuple[int, ...]
    server: int = 1
    hour: int = 0
    asl: str = "asl3-1.3"
    asterisk: str = "20.7.0"
    distro: str = "Debian"
    release: str = "12"
    arch: str = "x86_64"
    channel: str = "simpleusb"
    registration: str = "http"
    uptime: str = "4102"
    kernel: str = "6.1.0-31-amd64"
    packages: str = "{}"


def answer(measurement: Measurement, rows: Iterable[Cells]) -> bytes:
    """Format rows as InfluxDB's CSV: time in ns, then the columns of a day's facts."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "tags", "time", *columns(measurement)])
    for row in rows:
        writer.writerow([measurement.name, "", *row])
    return text.getvalue().encode()


def node_rows(reports: Iterable[One]) -> list[Cells]:
    return [
        [
            str(each.hour * HOUR + number),
            f"{node:016x}",
            *_platform(each),
            each.channel,
            each.registration,
        ]
        for number, each in enumerate(reports)
        for node in each.nodes
    ]


def server_rows(reports: Iterable[One]) -> list[Cells]:
    return [
        [
            str(each.hour * HOUR + n),
            f"{each.server:016x}",
            *_platform(each),
            each.uptime,
            each.kernel,
            each.packages,
        ]
        for n, each in enumerate(reports)
    ]


def _platform(each: One) -> Cells:
    return [each.asterisk, each.asl, each.distro, each.release, each.arch]


def day(*reports: One) -> DayFacts:
    """The facts of a day with these reports, given in order of time."""
    return gather(
        Rows(NODE_REPORT).add(answer(NODE_REPORT, node_rows(reports))).frame(),
        Rows(SERVER_REPORT).add(answer(SERVER_REPORT, server_rows(reports))).frame(),
    )


def upgrades(before: Presence, day: DayFacts) -> dict[tuple[str, str], int]:
    """The upgrades of a day that is computed by one range of pseudonyms."""
    return counted(moves_of(before, day.units), day.tables.node_profiles)
