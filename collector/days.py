"""Arithmetic of UTC days and months. Times are in ns since 1970, like the times of points."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final

NS_PER_S: Final = 10**9
NS_PER_HOUR: Final = 3600 * NS_PER_S
ONE_DAY: Final = timedelta(days=1)


def start_of(day: date) -> datetime:
    """00:00 UTC of a day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def day_ns(day: date) -> int:
    """00:00 UTC of a day, in ns since 1970."""
    return int(start_of(day).timestamp()) * NS_PER_S


def day_of(time_ns: int) -> date:
    """The UTC day of a time in ns since 1970."""
    return datetime.fromtimestamp(time_ns // NS_PER_S, UTC).date()


def day_named(text: str, today: date) -> date:
    """The day that `YYYY-MM-DD`, `today` or `yesterday` names. Raises ValueError."""
    named = {"today": today, "yesterday": today - ONE_DAY}
    return named[text] if text in named else date.fromisoformat(text)


def month_after(day: date) -> date:
    """The first day of the month after that of a day."""
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1)


def months(first: date, last: date) -> Iterator[tuple[date, date]]:
    """Split the days from `first` to `last`, both included, into spans within one month."""
    while first <= last:
        following = month_after(first)
        yield first, min(following - timedelta(days=1), last)
        first = following
