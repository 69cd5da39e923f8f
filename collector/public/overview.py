"""Contents of the home page: figures, tables and chart made from a snapshot. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from itertools import groupby
from statistics import median_low
from typing import Final

from collector.public.charts import Chart, chart
from collector.public.marks import Mark, marks
from collector.public.series import Snapshot, UsageDay
from collector.schema import (
    ARCH,
    ASL_VERSION,
    ASTERISK_VERSION,
    CHANNEL,
    OTHER,
    REGISTRATION,
    RELEASE,
)

_SHOWN: Final = (ASL_VERSION, ASTERISK_VERSION, RELEASE, ARCH, CHANNEL, REGISTRATION)
_MOST_ROWS: Final = 8
_CHART_DAYS: Final = 365
_WEEK: Final = timedelta(days=7)
_FIGURES: Final = ("servers", "nodes_7d", "nodes_30d", "new_nodes")


class Kind(StrEnum):
    """Kind of a row in a table of shares."""

    VALUE = "value"
    REST = "rest"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Figure:
    """A headline number, and its change from the same day a week before if that is known."""

    name: str
    value: int
    change: int | None


@dataclass(frozen=True, slots=True)
class ShareRow:
    """Count and share of a value. `value` of a REST row is the number of values summed up."""

    kind: Kind
    value: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class Shares:
    """Table of one property: largest count first, `other` last."""

    dimension: str
    rows: list[ShareRow]

    @property
    def hides(self) -> bool:
        """Whether suppression has put a count into `other`."""
        return any(row.kind is Kind.OTHER for row in self.rows)


@dataclass(frozen=True, slots=True)
class Month:
    """Statistics over the complete days of a month; middle values are medians."""

    first: date
    days: int
    low: int
    middle: int
    high: int
    servers_middle: int


@dataclass(frozen=True, slots=True)
class Overview:
    """Contents of the home page.

    `day`, the day of the figures and shares, is the last complete day or, before there is one, the
    open day; None if there are no days. `change` is the change of its nodes from a week before.
    """

    day: UsageDay | None
    change: int | None
    figures: list[Figure]
    shares: list[Shares]
    chart: Chart | None
    marks: list[Mark]
    charted: list[UsageDay]
    months: list[Month]

    @property
    def a_whole_year(self) -> bool:
        """Whether the chart spans a year."""
        return self.chart is not None and (self.chart.last - self.chart.first).days >= 360


def overview(snapshot: Snapshot) -> Overview:
    """The overview of a snapshot."""
    complete = {day.day: day for day in snapshot.days if day.final and "nodes" in day.fields}
    day = snapshot.tables_day
    charted: list[UsageDay] = []
    drawn: Chart | None = None
    if snapshot.last_final is not None:
        last = snapshot.last_final.day
        first = max(last - timedelta(days=_CHART_DAYS - 1), min(complete))
        charted = [complete[item] for item in sorted(complete) if first <= item <= last]
        if len(charted) > 1:
            lines = (_counts(charted, "nodes"), _counts(charted, "servers"))
            drawn = chart(lines, first, last)
    figures = {figure.name: figure for figure in _figures(day, complete)} if day else {}
    return Overview(
        day=day,
        change=figures["nodes"].change if "nodes" in figures else None,
        figures=[figures[name] for name in _FIGURES if name in figures],
        shares=[
            shares(tag.name, snapshot.tables[tag.name])
            for tag in _SHOWN
            if tag.name in snapshot.tables
        ],
        chart=drawn,
        marks=marks(snapshot.events, drawn.first, drawn.last) if drawn else [],
        charted=charted,
        months=_months(charted),
    )


def shares(dimension: str, counts: Mapping[str, int]) -> Shares:
    """The table of one property: at most eight values, and one row for the rest."""
    total = sum(counts.values())
    named = sorted(
        ((value, count) for value, count in counts.items() if value != OTHER),
        key=lambda pair: (-pair[1], pair[0]),
    )
    # A rest of one value would take as much space as the value itself.
    most = _MOST_ROWS if len(named) > _MOST_ROWS + 1 else len(named)
    rest = named[most:]
    rows = [(Kind.VALUE, value, count) for value, count in named[:most]]
    if rest:
        rows.append((Kind.REST, str(len(rest)), sum(count for _, count in rest)))
    if OTHER in counts:
        rows.append((Kind.OTHER, OTHER, counts[OTHER]))
    return Shares(
        dimension,
        [ShareRow(kind, value, n, n / total if total else 0.0) for kind, value, n in rows],
    )


def _figures(day: UsageDay, complete: Mapping[date, UsageDay]) -> list[Figure]:
    before = complete.get(day.day - _WEEK) if day.final else None
    return [
        Figure(
            name,
            day.fields[name],
            day.fields[name] - before.fields[name] if before and name in before.fields else None,
        )
        for name in ("nodes", *_FIGURES)
        if name in day.fields
    ]


def _counts(days: Sequence[UsageDay], name: str) -> dict[date, int]:
    return {day.day: day.fields[name] for day in days if name in day.fields}


def _months(days: Sequence[UsageDay]) -> list[Month]:
    """Statistics of each month, newest first."""
    found = []
    for first, group in groupby(days, key=lambda day: day.day.replace(day=1)):
        members = list(group)
        nodes = sorted(day.fields["nodes"] for day in members)
        servers = [day.fields.get("servers", 0) for day in members]
        found.append(
            Month(first, len(nodes), nodes[0], median_low(nodes), nodes[-1], median_low(servers))
        )
    return found[::-1]
