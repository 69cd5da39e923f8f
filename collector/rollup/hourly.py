"""Hourly counts of a day and their expected values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

import polars as pl

from collector.lines import NS_PER_DAY, FieldValue
from collector.rollup.facts import HOURS, DayFacts, DayUnits
from collector.rollup.lookback import HISTORY_DAYS

_HISTORY_LEAST: Final = 3
_COUNTS: Final = dict.fromkeys(("reports", "nodes", "nodes_24h", "servers_24h"))
_EXPECTED: Final = ("expected_reports", "expected_nodes_24h")
_MISSED_FROM: Final = 5
"""If at least this many reports were expected, an hour without any is a fault, not chance."""
_NO_NODES: Final = pl.DataFrame(schema={"node": pl.UInt64(), "hours": pl.UInt32()})
_NO_SERVERS: Final = pl.DataFrame(schema={"server": pl.UInt64(), "hours": pl.UInt32()})


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
    if day is None:
        day_nodes, day_servers, reports = _NO_NODES, _NO_SERVERS, {}
    else:
        day_nodes, day_servers = day.units.nodes, day.units.servers
        reports = dict(day.tables.hourly.select("hour", "reports").iter_rows())
    eve_nodes, eve_servers = (
        (_NO_NODES, _NO_SERVERS) if before is None else (before.nodes, before.servers)
    )
    alone = day_nodes.select(
        (pl.col("hours") & 2**hour != 0).sum().alias(str(hour)) for hour in range(HOURS)
    ).row(0)
    counts = zip(
        alone,
        _over_24_hours(eve_nodes, day_nodes, "node"),
        _over_24_hours(eve_servers, day_servers, "server"),
        strict=True,
    )
    return [Hour(reports.get(hour, 0), *found) for hour, found in enumerate(counts)][:count]


def _over_24_hours(eve: pl.DataFrame, day: pl.DataFrame, unit: str) -> list[int]:
    """The units of two days that were seen in the 24 hours that end with each hour of the second.

    Those are the units that were seen after that hour on the first day, or up to it on the second.
    """
    last = 31 - pl.col("hours").bitwise_leading_zeros().cast(pl.Int64)
    first = pl.col("hours").bitwise_trailing_zeros().cast(pl.Int64)
    both = (
        eve.lazy()
        .select(unit, last.alias("last"))
        .join(day.lazy().select(unit, first.alias("first")), on=unit, how="full", coalesce=True)
        .group_by(pl.col("last").fill_null(-1), pl.col("first").fill_null(HOURS))
        .len()
        .collect()
        .rows()
    )
    return [
        sum(number for last, first, number in both if last > hour or first <= hour)
        for hour in range(HOURS)
    ]


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


def hourly_fields(hour: Hour) -> Mapping[str, int | float]:
    """The fields of an hour's point; unknown values are left out."""
    values = {
        "reports": hour.reports,
        "nodes": hour.nodes,
        "nodes_24h": hour.nodes_24h,
        "servers_24h": hour.servers_24h,
        "expected_reports": hour.expected_reports,
        "expected_nodes_24h": hour.expected_nodes_24h,
        "missed": 1 if hour.missed else None,
    }
    return {name: value for name, value in values.items() if value is not None}
