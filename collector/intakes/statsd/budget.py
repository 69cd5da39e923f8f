"""Budgets of series: how many different ones an Asterisk may have in each measurement. Pure.

Each Asterisk has budgets of its own, so that none takes room from another. Half of a budget is for
any new series. Of the rest, a new series gets a place once it has come in `ROUNDS` flushes, so that
made-up names, which rarely repeat, cannot use it up. A series that has not come for `IDLE_DAYS`
gives its place away when the budget is used up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from collector.intakes.series import Series

SERIES: Final = 1000
"""The most series of one measurement, for each Asterisk."""
LARGE: Final = {"endpoint_channels": 5000, "pjsip_rtt": 5000}
"""The same for the measurements that have a series an endpoint or an AOR."""
MEASUREMENTS: Final = 200
"""The most measurements that the names of one Asterisk may make."""
ROUNDS: Final = 5
"""Flushes in which a series must come to get a place in the second half."""
IDLE_DAYS: Final = 7
_MOST_WAITING: Final = 4096


class SeriesBudget:
    """The series of one Asterisk that have a place, with the UTC day on which each last came."""

    def __init__(self) -> None:
        self._days: dict[Series, int] = {}
        self._held: Counter[str] = Counter()
        # How often, and in which flush last, a series without a place has come.
        self._once: dict[Series, tuple[int, int]] = {}
        self._again: dict[Series, tuple[int, int]] = {}

    def day(self, series: Series) -> int | None:
        """The day on which a series came last; None if it has no place."""
        return self._days.get(series)

    def admit(self, series: Series, day: int, flush: int) -> Series | bool:
        """Whether a series has a place, from now on too; the series that gave its place, if any.

        `flush` is the number of the running flush, rising by 1.
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
        """Note that a series came on a day; it has a place."""
        if series not in self._days:
            self._held[series.measurement] += 1
            self._again.pop(series, None)
        self._days[series] = day

    def free(self, series: Series) -> None:
        """Take the place of a series that has one."""
        del self._days[series]
        self._held[series.measurement] -= 1

    def _has_waited(self, series: Series, flush: int) -> bool:
        came = self._again if series in self._again else self._once
        rounds, last = came.pop(series, (0, -1))
        if last != flush:
            rounds += 1
        if rounds >= ROUNDS:
            return True
        # Made-up names come once: they push out one another, not those that have come again.
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
