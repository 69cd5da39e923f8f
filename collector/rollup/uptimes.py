"""Uptimes of the servers of a day: their table by length, and the median. Pure.

A histogram (`DayTables.uptimes`) has the columns `uptime`, in whole hours and null if unknown, and
`count`, the number of servers.
"""

from __future__ import annotations

from typing import Final

from collector.lazy import pl
from collector.schema import UNKNOWN, UPTIMES

_DAY_H: Final = 24
_MONTH_H: Final = 30 * 24


def uptime_table(histogram: pl.DataFrame) -> dict[str, int]:
    """The number of servers with each value of the dimension `uptime`; only those that occur."""
    under_a_day, under_a_month, longer = UPTIMES
    hours = pl.col("uptime")
    value = (
        pl.when(hours.is_null())
        .then(pl.lit(UNKNOWN))
        .when(hours < _DAY_H)
        .then(pl.lit(under_a_day))
        .when(hours < _MONTH_H)
        .then(pl.lit(under_a_month))
        .otherwise(pl.lit(longer))
    )
    return dict(histogram.group_by(value.alias("value")).agg(pl.col("count").sum()).iter_rows())


def uptime_median(histogram: pl.DataFrame, k: int) -> int | None:
    """The lower median in whole hours of the servers that said it; None for fewer than k."""
    known = histogram.drop_nulls("uptime").sort("uptime")
    servers = int(known["count"].sum())
    if servers < max(k, 1):
        return None
    before = known["count"].cum_sum() > (servers - 1) // 2
    return int(known["uptime"][before.arg_true()[0]])
