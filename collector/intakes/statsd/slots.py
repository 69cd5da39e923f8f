"""Slots: handlers of the values of one name and type. Pure.

The aggregator caches a slot for each name, so that a datagram costs two look-ups and one call.
`take` gets the value as sent, and the time in ns since 1970.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from collector.intakes.series import Series
from collector.intakes.statsd.drops import Counts, Drop
from collector.intakes.statsd.gauge import Gauge
from collector.intakes.statsd.gauges import Gauges
from collector.intakes.statsd.line import number
from collector.intakes.statsd.sets import DistinctValues
from collector.intakes.statsd.timers import Timer

MOST_CONTACTS: Final = 20_000
"""Most contacts remembered as having had their first round trip."""
_COMMON: Final = {
    f"{sign}{size}".encode(): float(f"{sign}{size}")
    for sign in ("", "+", "-")
    for size in range(300)
}


def numeric(value: bytes) -> float | None:
    """A value as a number; None if it is not one. Common values come from a table."""
    found = _COMMON.get(value)
    return number(value) if found is None else found


class Slot(Protocol):
    """Handler of the values of one name and type."""

    def take(self, value: bytes, now_ns: int, weight: float = 1.0, *, rated: bool = False) -> None:
        """Handle a value that stands for `weight` values; `rated`: the others were not sent."""
        ...


class Dropped:
    """Counts values that are not stored."""

    __slots__ = ("_counts", "_reason")

    def __init__(self, counts: Counts, reason: Drop) -> None:
        self._counts = counts
        self._reason = reason

    def take(self, value: bytes, now_ns: int, weight: float = 1.0, *, rated: bool = False) -> None:
        """Count the value."""
        self._counts.drops[self._reason] += 1


class Sum:
    """The sum of a counter's increments since the last flush."""

    __slots__ = ("field", "series", "touched", "value")

    def __init__(self, series: Series, field: str) -> None:
        self.series = series
        self.field = field
        self.value = 0.0
        self.touched = False

    def flush(self) -> dict[str, float]:
        """The field with the sum, which begins at 0 again."""
        value, self.value = self.value, 0.0
        return {self.field: value}


Cell = Sum | Timer | DistinctValues
"""Values of one series since the last flush; `touched` is whether there are any."""


class CounterSlot:
    """Adds increments to a counter."""

    __slots__ = ("_counts", "_scale", "_sum", "_touched")

    def __init__(self, counts: Counts, total: Sum, touched: list[Cell], scale: float) -> None:
        self._counts = counts
        self._sum = total
        self._touched = touched
        self._scale = scale

    def take(self, value: bytes, now_ns: int, weight: float = 1.0, *, rated: bool = False) -> None:
        """Add an increment."""
        increment = numeric(value)
        if increment is None:
            self._counts.drops[Drop.BAD_VALUE] += 1
            return
        self._counts.samples += 1
        total = self._sum
        total.value += increment * weight * self._scale
        if not total.touched:
            total.touched = True
            self._touched.append(total)


class GaugeSlot:
    """Sets a gauge, or changes it if the value has a sign."""

    __slots__ = ("_counts", "_gauge", "_gauges", "_scale")

    def __init__(self, counts: Counts, gauges: Gauges, gauge: Gauge, scale: float) -> None:
        self._counts = counts
        self._gauges = gauges
        self._gauge = gauge
        self._scale = scale

    def take(self, value: bytes, now_ns: int, weight: float = 1.0, *, rated: bool = False) -> None:
        """Set or change the gauge."""
        given = numeric(value)
        if given is None:
            self._counts.drops[Drop.BAD_VALUE] += 1
            return
        self._counts.samples += 1
        if value[0] in b"+-":
            self._gauges.change(self._gauge, given * self._scale, now_ns, rated=rated)
        else:
            self._gauges.set(self._gauge, given * self._scale, now_ns)


class TimerSlot:
    """Adds values to a timer; `may_be_negative` for histograms and distributions."""

    __slots__ = ("_counts", "_may_be_negative", "_scale", "_timer", "_touched")

    def __init__(
        self,
        counts: Counts,
        timer: Timer,
        touched: list[Cell],
        scale: float,
        *,
        may_be_negative: bool,
    ) -> None:
        self._counts = counts
        self._timer = timer
        self._touched = touched
        self._scale = scale
        self._may_be_negative = may_be_negative

    def take(self, value: bytes, now_ns: int, weight: float = 1.0, *, rated: bool = False) -> None:
        """Add a value."""
        given = numeric(value)
        if given is None or (given < 0 and not self._may_be_negative):
            self._counts.drops[Drop.BAD_VALUE if given is None else Drop.NEGATIVE_TIME] += 1
            return
        self._counts.samples += 1
        timer = self._timer
        timer.add(given * self._scale, weight)
        if not timer.touched:
            timer.touched = True
            self._touched.append(timer)


class RoundTripSlot:
    """Adds the round trips of one contact to timers: -1 is no answer, the first is left out.

    `timers` are that of the contact's address of record and that of all contacts. `firsts` maps
    contacts to the number of the last start whose first round trip was left out.
    """

    __slots__ = ("_contact", "_counts", "_firsts", "_gauges", "_scale", "_timers", "_touched")

    def __init__(
        self,
        counts: Counts,
        gauges: Gauges,
        timers: tuple[Timer, ...],
        touched: list[Cell],
        scale: float,
        *,
        contact: bytes,
        firsts: dict[bytes, int],
    ) -> None:
        self._counts = counts
        self._gauges = gauges
        self._timers = timers
        self._touched = touched
        self._scale = scale
        self._contact = contact
        self._firsts = firsts

    def take(self, value: bytes, now_ns: int, weight: float = 1.0, *, rated: bool = False) -> None:
        """Take a round trip in ms, or -1."""
        given = numeric(value)
        if given is None or (given < 0 and given != -1):
            self._counts.drops[Drop.BAD_VALUE if given is None else Drop.NEGATIVE_TIME] += 1
            return
        self._counts.samples += 1
        starts = self._gauges.starts
        is_first = given >= 0 and bool(starts) and self._firsts.get(self._contact) != starts
        if is_first:
            if len(self._firsts) >= MOST_CONTACTS:
                self._firsts.clear()
            self._firsts[self._contact] = starts
        for timer in self._timers:
            if given < 0:
                timer.unreachable += 1
            elif is_first:
                timer.first += 1
            else:
                timer.add(given * self._scale, weight)
            if not timer.touched:
                timer.touched = True
                self._touched.append(timer)


class SetSlot:
    """Adds values to a set."""

    __slots__ = ("_counts", "_set", "_touched")

    def __init__(self, counts: Counts, values: DistinctValues, touched: list[Cell]) -> None:
        self._counts = counts
        self._set = values
        self._touched = touched

    def take(self, value: bytes, now_ns: int, weight: float = 1.0, *, rated: bool = False) -> None:
        """Add a value, any text."""
        self._counts.samples += 1
        values = self._set
        values.add(value)
        if not values.touched:
            values.touched = True
            self._touched.append(values)


class NotedSlot:
    """Calls a function with the time of each value, then passes the value on."""

    __slots__ = ("_note", "_slot")

    def __init__(self, note: Callable[[int], None], slot: Slot) -> None:
        self._note = note
        self._slot = slot

    def take(self, value: bytes, now_ns: int, weight: float = 1.0, *, rated: bool = False) -> None:
        """Call the function and pass the value on."""
        self._note(now_ns)
        self._slot.take(value, now_ns, weight, rated=rated)
