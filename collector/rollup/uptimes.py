"""Uptimes of the servers of a day: their table by length, and the median. Pure.

A histogram (`DayTables.uptimes`) has the columns `uptime`, in whole hours and null if unknown, and
`count`, the number of servers.
"""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from typing import Final

from collector.lazy import pl
from collector.schema import UNKNOWN, UPTIMES

_DAY_H: Final = 24
_MONTH_H: Final = 30 * 24


def uptime_table(histogram: pl.DataFrame) -> dict[str, int]:
    """The number of servers with each value of the dimension `uptime`; only those that occur."""
    under_a_day, under_a_month, longer = UPTIMES
    found: Counter[str] = Counter()
    for hours, count in histogram.select("uptime", "count").iter_rows():
        if hours is None:
            found[UNKNOWN] += count
        else:
            found[
                under_a_day if hours < _DAY_H else under_a_month if hours < _MONTH_H else longer
            ] += count
    return dict(found)


def uptime_median(histogram: pl.DataFrame, k: int) -> int | None:
    """The lower median in whole hours of the servers that said it; None for fewer than k."""
    known: list[tuple[int, int]] = sorted(
        (hours, count)
        for hours, count in histogram.select("uptime", "count").iter_rows()
        if hours is not None
    )
    servers = sum(count for _, count in known)
    if servers < max(k, 1):
        return None
    passed = accumulate(count for _, count in known)
    middle = (servers - 1) // 2
    return next(hours for (hours, _), up_to in zip(known, passed, strict=True) if up_to > middle)
