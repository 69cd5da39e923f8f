"""Pairs of sysDescr and sysObjectID in LibreNMS's reports, for operators to search and export.

LibreNMS's developers make unit tests of them. Each install counts with its last report of the days
asked for. Texts are cleaned again by today's rules, which may be newer than the reports.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final

from collector.days import day_of
from collector.influx import Influx, Select, read, read_if_there, rows_of
from collector.intakes.librenms.cleaning import cleaned
from collector.lines import STEP_NS
from collector.rollup.raw import span_of
from collector.schema import OWNER
from collector.schema.librenms import LIBRENMS_CONTENT, LIBRENMS_REPORT

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of text that a spreadsheet takes for a formula."""


Pair = tuple[str, str, str]
"""Operating system, sysObjectID and sysDescr."""


@dataclass(frozen=True, slots=True)
class Found:
    """A pair with its operating system, and the devices and installs that have it."""

    os: str
    sysObjectID: str  # noqa: N815 - SNMP's name, which is the export's too
    sysDescr: str  # noqa: N815
    devices: int
    installs: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A search: each condition that is given must hold; `pattern` is searched in sysDescr."""

    os: str = ""
    oid: str = ""
    contains: str = ""
    pattern: re.Pattern[str] | None = None

    def accepts(self, os: str, oid: str, descr: str) -> bool:
        """Whether a pair is wanted."""
        return (
            (not self.os or os == self.os)
            and (not self.oid or _is_under(oid, self.oid))
            and self.contains.casefold() in descr.casefold()
            and (self.pattern is None or self.pattern.search(descr) is not None)
        )


async def search(influx: Influx, first: date, last: date, wanted: Wanted) -> list[Found]:
    """The pairs of these days, most devices first. Raises InfluxError."""
    heads = await read_if_there(
        influx, Select.rows(LIBRENMS_REPORT, (OWNER, "points"), span_of(first, last).where())
    )
    newest: dict[str, tuple[int, int]] = {}
    for row in rows_of(heads):
        at = int(row["time"])
        newest[row[OWNER]] = max(newest.get(row[OWNER], (0, 0)), (at, int(row["points"] or 0)))
    # A day at a time, to bound memory; most installs have reported on the last one.
    devices, having = Counter[Pair](), Counter[Pair]()
    for day in sorted({day_of(at) for at, _ in newest.values()}):
        found = await read(
            influx, Select.rows(LIBRENMS_CONTENT, (OWNER, "pairs"), span_of(day, day).where())
        )
        rows = [
            row
            for row in rows_of(found)
            if row["pairs"] and _is_of(int(row["time"]), newest.get(row[OWNER]))
        ]
        await asyncio.to_thread(_add, rows, wanted, devices, having)
    return sorted(
        (Found(*pair, count, having[pair]) for pair, count in devices.items()),
        key=lambda one: (-one.devices, -one.installs, one.os, one.sysObjectID, one.sysDescr),
    )


def _is_of(time: int, head: tuple[int, int] | None) -> bool:
    """Whether a point of content belongs to the report of a head (its time and points)."""
    return head is not None and head[0] < time <= head[0] + head[1] * STEP_NS


def _add(
    rows: Iterable[Mapping[str, Any]],
    wanted: Wanted,
    devices: Counter[Pair],
    having: Counter[Pair],
) -> None:
    """Add the pairs of installs' reports."""
    said: dict[Pair, set[str]] = {}
    for row in rows:
        for one in json.loads(row["pairs"]):
            pair = (one["os"], one["oid"], cleaned(one["descr"]))
            if wanted.accepts(*pair):
                devices[pair] += one["count"]
                said.setdefault(pair, set()).add(row[OWNER])
    having.update({pair: len(installs) for pair, installs in said.items()})


def _is_under(oid: str, prefix: str) -> bool:
    """Whether an object identifier is `prefix` or under it; a leading dot does not matter."""
    own, root = oid.lstrip("."), prefix.strip(".")
    return own == root or own.startswith(f"{root}.")


def as_json(found: Iterable[Found]) -> str:
    """Pairs as a JSON array."""
    return json.dumps([asdict(one) for one in found], indent=1, ensure_ascii=False) + "\n"


def as_csv(found: Iterable[Found]) -> str:
    """Pairs as CSV with a heading; text that a spreadsheet would run gets an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(Found.__slots__)
    for one in found:
        writer.writerow(
            f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
            for value in asdict(one).values()
        )
    return text.getvalue()
