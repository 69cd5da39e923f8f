"""Generator of the tables in docs/reliability.md from measurements of the fault tests.

A suite records one row per fault, each in a file under `.local/reliability/`. `python -m
tests.reliability SUITE` writes them as a table between the two marks of that suite in the page;
`--forget SUITE` deletes the rows of earlier runs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
RECORDS = ROOT / ".local" / "reliability"


class Suite(StrEnum):
    """A test suite with a table in the page."""

    CHAOS = "chaos"
    HOSTILE = "hostile"
    COST = "hostile-cost"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A fault, and the numbers of reports sent during it.

    `in_influxdb` counts distinct stored reports; `lost` were acknowledged, but are not stored;
    `doubled` are stored more than once; `refused` got 503, or another reply that the fault
    requires; `unanswered` were cut off, and may be stored or not. `recovery_s` is the time in s
    from the end of the fault until all acknowledged reports are stored; None if not measured.
    """

    fault: str
    rounds: int
    sent: int
    acknowledged: int
    in_influxdb: int
    lost: int
    doubled: int
    refused: int
    unanswered: int = 0
    recovery_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of an attack to the collector, and to an honest sender of ten reports a second."""

    attack: str
    honest: int
    honest_taken: int
    slowest_ms: int
    memory_mib: int
    grown_mib: int
    descriptors: int


_HEADINGS = {
    "in_influxdb": "in InfluxDB",
    "recovery_s": "recovery (s)",
    "honest": "honest reports",
    "honest_taken": "taken",
    "slowest_ms": "slowest (ms)",
    "memory_mib": "memory (MiB)",
    "grown_mib": "of it grown",
}


def record(suite: Suite, row: Row | Cost, *, place: Path = RECORDS) -> None:
    """Store a row for the table; it replaces the same fault's row of an earlier run."""
    folder = place / suite
    folder.mkdir(parents=True, exist_ok=True)
    called = row.fault if isinstance(row, Row) else row.attack
    name = re.sub(r"[^a-z0-9]+", "-", called.lower()).strip("-")
    (folder / f"{name}.json").write_text(json.dumps(asdict(row)), encoding="utf-8")


def recorded(suite: Suite, *, place: Path = RECORDS) -> list[Row] | list[Cost]:
    """The recorded rows of a suite, sorted by fault."""
    files = sorted((place / suite).glob("*.json"))
    said = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    if suite is Suite.COST:
        return [Cost(**one) for one in said]
    return [Row(**one) for one in said]


def table(rows: Sequence[Row] | Sequence[Cost], *, ran: str) -> str:
    """Format the table of a suite; `ran` is the time and place of the run."""
    names = [field.name for field in fields(rows[0] if rows else Row)]
    headings = [_HEADINGS.get(name, name.replace("_", " ")) for name in names]
    marks = ["---", *["---:"] * (len(headings) - 1)]
    lines = ["| " + " | ".join(cells) + " |" for cells in (headings, marks, *map(_cells, rows))]
    return "\n".join([ran, "", *lines])


def _cells(row: Row | Cost) -> list[str]:
    return [_cell(value) for value in asdict(row).values()]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    return "" if value is None else str(value)


def with_table(page: str, suite: Suite, text: str) -> str:
    """Return the page with a suite's new table. Raises ValueError if its marks are missing."""
    between = re.compile(rf"(<!-- {suite} -->\n).*?(<!-- end of {suite} -->)", re.DOTALL)
    if between.search(page) is None:
        raise ValueError(f"the page has lost its marks of {suite}")
    return between.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page)


def main() -> None:
    """Write the table of a suite, or delete its recorded rows."""
    parser = argparse.ArgumentParser(prog="reliability")
    parser.add_argument("suite", type=Suite, choices=list(Suite))
    parser.add_argument("--forget", action="store_true", help="what earlier runs recorded")
    options = parser.parse_args()
    if options.forget:
        shutil.rmtree(RECORDS / options.suite, ignore_errors=True)
        return
    rows = recorded(options.suite)
    if not rows:
        parser.error(f"{options.suite} has recorded nothing")
    ran = f"Measured on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores."
    page = with_table(PAGE.read_text(encoding="utf-8"), options.suite, table(rows, ran=ran))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
