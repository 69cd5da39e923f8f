"""UTC days and months, and their places in time. Pure.

Times are ns since 1970, as those of points.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final

NS_PER_S: Final = 10**9


def start_of(day: date) -> datetime:
    """The first moment of a day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def day_ns(day: date) -> int:
    """The start of a day, in ns."""
    return int(start_of(day).timestamp()) * NS_PER_S


def day_of(time_ns: int) -> date:
    """The day of a time in ns."""
    return datetime.fromtimestamp(time_ns // NS_PER_S, UTC).date()


def months(first: date, last: date) -> Iterator[tuple[date, date]]:
    """The time from one day to another, both included, cut at the ends of months."""
    while first <= last:
        end = first.replace(day=calendar.monthrange(first.year, first.month)[1])
        yield first, min(end, last)
        first = end + timedelta(days=1)
