"""Budgets of series: limits of an Asterisk's distinct series in each measurement. Pure.

Each Asterisk has its own budgets, so that none takes room from another. Half of a budget is open to
any new series. In the other half, a series gets a place once it was sent in `ROUNDS` flushes, so
that made-up names, which rarely repeat, cannot exhaust it. Once a budget is used up, a series that
was not sent for `IDLE_DAYS` loses its place to a new one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from collector.intakes.series import Series

SERIES: Final = 1000
"""Most series of one measurement of one Asterisk."""
LARGE: Final = {"endpoint_channels": 5000, "pjsip_rtt": 5000}
"""Most series of the measurements that have a series for each endpoint or AOR."""
MEASUREMENTS: Final = 200
"""Most measurements made from the names of one Asterisk."""
ROUNDS: Final = 5
"""Flushes in which a series must be sent to get a place in the second half."""
IDLE_DAYS: Final = 7
_MOST_WAITING: Final = 4096


class SeriesBudget:
    """Series of one Asterisk that have a place, with the UTC day on which each was last sent."""

    def __init__(self) -> None:
        self._days: dict[Series, int] = {}
        self._held: Counter[str] = Counter()
        # By series without a place: the number of flushes that had it, and the last of them.
        self._once: dict[Series, tuple[int, int]] = {}
        self._again: dict[Series, tuple[int, int]] = {}

    def day(self, series: Series) -> int | None:
        """Day on which a series was last sent; None if it has no place."""
        return self._days.get(series)

    def admit(self, series: Series, day: int, flush: int) -> Series | bool:
        """Give a series a place if there is one; return whether it has one, or the series replaced.

        `flush` is the number of the current flush, which rises by 1.
        """
        if series in self._days:
            return True
        held = self._held[series.measurement]
        limit = LARGE.get(series.measurement, SERIES)
        if series.measurement not in self._held and len(self._held) >= MEASUREMENTS:
            return False
        if 2 * held >= limit and not self._has_waited(series, flush):
            return False
        freed: Series | bool = True
        if held >= limit:
            idle = next(self._idle(series.measurement, day), None)
            if idle is None:
                return False
            self.free(idle)
            freed = idle
        self.hold(series, day)
        return freed

    def hold(self, series: Series, day: int) -> None:
        """Record the day on which a series was sent, and give it a place."""
        if series not in self._days:
            self._held[series.measurement] += 1
            self._again.pop(series, None)
        self._days[series] = day

    def free(self, series: Series) -> None:
        """Take its place from a series that has one."""
        del self._days[series]
        self._held[series.measurement] -= 1

    def _has_waited(self, series: Series, flush: int) -> bool:
        came = self._again if series in self._again else self._once
        rounds, last = came.pop(series, (0, -1))
        if last != flush:
            rounds += 1
        if rounds >= ROUNDS:
            return True
        # Made-up names are sent once: they replace one another, not names that were sent again.
        came = self._once if rounds == 1 else self._again
        if len(came) >= _MOST_WAITING:
            del came[next(iter(came))]
        came[series] = (rounds, flush)
        return False

    def _idle(self, measurement: str, day: int) -> Iterator[Series]:
        return (
            series
            for series, last in self._days.items()
            if series.measurement == measurement and day - last > IDLE_DAYS
        )
