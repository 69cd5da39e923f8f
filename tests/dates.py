"""Dates of the real clock, for tests of parts that read it themselves: `serve` and the commands.

A day becomes final one hour after its end, so that in the first hour of a day both it and the day
before are open. A test that needs a final day takes `last_final_day()`, and one that needs an open
day takes `open_day()`, the day after it; neither is always "yesterday" or "today". Tests that
hand over the time themselves take a fixed one instead.

Each function reads the clock: call it in a test or fixture, once, and derive the rest from what it
returns. A constant of a module goes stale when midnight passes during a run.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

from collector.rollup.inputs import FINAL_AFTER

_ONE_DAY: Final = timedelta(days=1)
_NS_PER_DAY: Final = 86_400 * 10**9


def today() -> date:
    """The current day in UTC."""
    return datetime.now(UTC).date()


def last_final_day() -> date:
    """The newest day that is final when computed now: until 01:00 UTC the day before yesterday."""
    return open_day() - _ONE_DAY


def open_day() -> date:
    """The oldest day that is not final when computed now: until 01:00 UTC yesterday, then today."""
    return (datetime.now(UTC) - FINAL_AFTER).date()


def start_ns(day: date) -> int:
    """00:00 UTC of a day, in ns since 1970."""
    return (day - date(1970, 1, 1)).days * _NS_PER_DAY
