"""What the suites of faults measured, and the tables that docs/reliability.md shows of it.

A suite records a row a fault, as a file each under `.local/reliability/`; `python -m
tests.reliability SUITE` writes its table between the two marks of that suite in the page, and
`--forget SUITE` forgets what earlier runs recorded.
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
    """A suite that has a table in the page."""

    CHAOS = "chaos"
    HOSTILE = "hostile"
    COST = "hostile-cost"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault, and the reports that were sent while it was there.

    `in_influxdb` are distinct reports; `lost` were acknowledged and are not there; `doubled` are
    there more than once; `refused` got 503, or another answer that the fault calls for;
    `unanswered` were cut off and may or may not be there. `recovery_s`: seconds from the end of the
    fault until all that was acknowledged was there; None where that was not measured.
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
    """What an attack cost an honest sender, who reported ten times a second, and the collector."""

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
    """Keep a row for the next table; the same fault's row of an earlier run is replaced."""
    folder = place / suite
    folder.mkdir(parents=True, exist_ok=True)
    called = row.fault if isinstance(row, Row) else row.attack
    name = re.sub(r"[^a-z0-9]+", "-", called.lower()).strip("-")
    (folder / f"{name}.json").write_text(json.dumps(asdict(row)), encoding="utf-8")


def recorded(suite: Suite, *, place: Path = RECORDS) -> list[Row] | list[Cost]:
    """The rows that a suite recorded, by fault."""
    files = sorted((place / suite).glob("*.json"))
    said = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    if suite is Suite.COST:
        return [Cost(**one) for one in said]
    return [Row(**one) for one in said]


def table(rows: Sequence[Row] | Sequence[Cost], *, ran: str) -> str:
    """The table of a suite; `ran` says when and where it ran."""
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
    """The page with a suite's table in its place. Raises ValueError where it has no place."""
    between = re.compile(rf"(<!-- {suite} -->\n).*?(<!-- end of {suite} -->)", re.DOTALL)
    if between.search(page) is None:
        raise ValueError(f"the page has lost its marks of {suite}")
    return between.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page)


def main() -> None:
    """Write a suite's table from what it recorded, or forget that."""
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
