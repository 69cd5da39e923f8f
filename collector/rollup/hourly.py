"""Hourly counts of a day and their expected values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Final

from collector.lazy import pl
from collector.lines import NS_PER_DAY, FieldValue
from collector.rollup.facts import HOURS, DayFacts, DayUnits
from collector.rollup.lookback import HISTORY_DAYS

_HISTORY_LEAST: Final = 3
_COUNTS: Final = dict.fromkeys(("reports", "nodes", "nodes_24h", "servers_24h"))
_EXPECTED: Final = ("expected_reports", "expected_nodes_24h")
_MISSED_FROM: Final = 5
"""If at least this many reports were expected, an hour without any is a fault, not chance."""


@dataclass(frozen=True, slots=True)
class Hour:
    """Counts of one hour; fields have the names of `hourly_usage`."""

    reports: int
    nodes: int
    nodes_24h: int
    servers_24h: int
    expected_reports: float | None = None
    expected_nodes_24h: float | None = None

    def __add__(self, other: Hour) -> Hour:
        """The counts of two ranges of pseudonyms, without expected values."""
        return Hour(*(getattr(self, name) + getattr(other, name) for name in _COUNTS))

    @property
    def missed(self) -> bool:
        """Whether no report arrived although enough were expected: the intake was down."""
        return self.reports == 0 and (self.expected_reports or 0) >= _MISSED_FROM


def hours_of(before: DayUnits | None, day: DayFacts | None, count: int) -> list[Hour]:
    """The first `count` hours of a day, without expected values.

    `before` are the units of the previous day; None stands for a day without reports.
    """
    reports = dict(day.tables.hourly.select("hour", "reports").iter_rows()) if day else {}
    days = (before, day.units if day else None)
    nodes = _two_days([units.nodes if units else None for units in days], "node")
    servers = _two_days([units.servers if units else None for units in days], "server")
    last = range(HOURS, HOURS + count)
    alone = _seen(nodes, [(hour, hour) for hour in last])
    around = [(hour - HOURS + 1, hour) for hour in last]
    return [
        Hour(reports.get(hour, 0), *found)
        for hour, found in enumerate(
            zip(alone, _seen(nodes, around), _seen(servers, around), strict=True)
        )
    ]


def _two_days(days: list[pl.DataFrame | None], unit: str) -> pl.DataFrame:
    """Count the units (`len`) by the hours in which they were seen, over two days.

    In the bit mask `hours`, bits 0..23 are the first day, bits 24..47 the second.
    """
    empty = pl.LazyFrame(schema={unit: pl.UInt64(), "hours": pl.UInt32()})
    first, second = (
        empty if frame is None else frame.lazy().select(unit, "hours") for frame in days
    )
    both = first.join(second, on=unit, how="full", coalesce=True, suffix="_after")
    earlier, later = (
        pl.col(name).cast(pl.UInt64).fill_null(0) for name in ("hours", "hours_after")
    )
    hours = both.select(earlier + later * 2**HOURS).collect()["hours"]
    return hours.value_counts(name="len")


def _seen(units: pl.DataFrame, windows: Sequence[tuple[int, int]]) -> list[int]:
    """Count the units that were seen in each window, given by its first and last hour (0..47)."""
    seen = [(pl.col("hours") & (2 ** (last + 1) - 2**first)) != 0 for first, last in windows]
    counts = units.select(
        pl.col("len").filter(each).sum().alias(str(number)) for number, each in enumerate(seen)
    )
    return [int(count) for count in counts.row(0)] if windows else []


def expect(hour: Hour, history: list[Hour]) -> Hour:
    """Add the expected values to an hour: medians of the same hour on up to 7 previous days.

    With fewer than 3 days in `history` there is no expected value.
    """
    if len(history) < _HISTORY_LEAST:
        return replace(hour, expected_reports=None, expected_nodes_24h=None)
    return replace(
        hour,
        expected_reports=float(median(past.reports for past in history)),
        expected_nodes_24h=float(median(past.nodes_24h for past in history)),
    )


def history_of(hours: Mapping[int, Hour], start: int) -> list[Hour]:
    """The hours at the same time of day on the 7 days before `start`; missing ones are left out.

    The keys of `hours` and `start` are times in ns since 1970.
    """
    times = [start - back * NS_PER_DAY for back in range(1, HISTORY_DAYS + 1)]
    return [hours[time] for time in times if time in hours]


def stored_hours(points: Mapping[int, Mapping[str, FieldValue]]) -> dict[int, Hour]:
    """Convert stored points to hours, by time; points that lack a count are skipped."""
    return {
        time: Hour(
            *(int(fields[name]) for name in _COUNTS),
            *(float(fields[name]) if name in fields else None for name in _EXPECTED),
        )
        for time, fields in points.items()
        if fields.keys() >= _COUNTS.keys()
    }


def hourly_fields(hour: Hour) -> dict[str, FieldValue]:
    """The fields of an hour's point; unknown values are left out."""
    values = asdict(hour) | {"missed": 1 if hour.missed else None}
    return {name: value for name, value in values.items() if value is not None}
