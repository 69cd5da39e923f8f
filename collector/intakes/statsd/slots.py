"""Slots: handlers of the values of one name and type, and the values until a flush. Pure.

The aggregator caches a slot for each name, so that a datagram costs two look-ups and one call.
`take` gets the value as sent, and the time in ns since 1970.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from collector.intakes.series import Series
from collector.intakes.statsd.drops import Counts, Drop
from collector.intakes.statsd.gauge import Gauge
from collector.intakes.statsd.gauges import Gauges
from collector.intakes.statsd.line import COUNTER, METER, SET, TIMER, Sample, number
from collector.intakes.statsd.mapping import Target
from collector.intakes.statsd.names import Known, Role
from collector.intakes.statsd.sets import DistinctValues
from collector.intakes.statsd.timers import Timer
from collector.lines import FieldValue
from collector.schema.live import PJSIP_RTT_ALL

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


@dataclass(eq=False, slots=True)
class Dropped:
    """Counts values that are not stored."""

    counts: Counts
    reason: Drop

    def take(self, value: bytes, now_ns: int, weight: float = 1.0, *, rated: bool = False) -> None:
        """Count the value."""
        self.counts.drops[self.reason] += 1


@dataclass(eq=False, slots=True)
class Sum:
    """The sum of a counter's increments since the last flush."""

    series: Series
    field: str
    value: float = 0.0
    touched: bool = False

    def flush(self) -> dict[str, float]:
        """The field with the sum, which begins at 0 again."""
        value, self.value = self.value, 0.0
        return {self.field: value}


Cell = Sum | Timer | DistinctValues
"""Values of one series since the last flush; `touched` is whether there are any."""


@dataclass(eq=False, slots=True)
class CounterSlot:
    """Adds increments to a counter."""

    counts: Counts
    total: Sum
    touched: list[Cell]
    scale: float

    def take(self, value: bytes, now_ns: int, weight: float = 1.0, *, rated: bool = False) -> None:
        """Add an increment."""
        increment = numeric(value)
        if increment is None:
            self.counts.drops[Drop.BAD_VALUE] += 1
            return
        self.counts.samples += 1
        total = self.total
        total.value += increment * weight * self.scale
        if not total.touched:
            total.touched = True
            self.touched.append(total)


@dataclass(eq=False, slots=True)
class GaugeSlot:
    """Sets a gauge, or changes it if the value has a sign."""

    counts: Counts
    gauges: Gauges
    gauge: Gauge
    scale: float

    def take(self, value: bytes, now_ns: int, weight: float = 1.0, *, rated: bool = False) -> None:
        """Set or change the gauge."""
        given = numeric(value)
        if given is None:
            self.counts.drops[Drop.BAD_VALUE] += 1
            return
        self.counts.samples += 1
        if value[0] in b"+-":
            self.gauges.change(self.gauge, given * self.scale, now_ns, rated=rated)
        else:
            self.gauges.set(self.gauge, given * self.scale, now_ns)


@dataclass(eq=False, slots=True)
class TimerSlot:
    """Adds values to a timer; `may_be_negative` for histograms and distributions."""

    counts: Counts
    timer: Timer
    touched: list[Cell]
    scale: float
    may_be_negative: bool

    def take(self, value: bytes, now_ns: int, weight: float = 1.0, *, rated: bool = False) -> None:
        """Add a value."""
        given = numeric(value)
        if given is None or (given < 0 and not self.may_be_negative):
            self.counts.drops[Drop.BAD_VALUE if given is None else Drop.NEGATIVE_TIME] += 1
            return
        self.counts.samples += 1
        timer = self.timer
        timer.add(given * self.scale, weight)
        if not timer.touched:
            timer.touched = True
            self.touched.append(timer)


@dataclass(eq=False, slots=True)
class RoundTripSlot:
    """Adds the round trips of one contact to timers: -1 is no answer, the first is left out.

    `timers` are that of the contact's address of record and that of all contacts. `firsts` maps
    contacts to the number of the last start whose first round trip was left out.
    """

    counts: Counts
    gauges: Gauges
    timers: tuple[Timer, ...]
    touched: list[Cell]
    scale: float
    contact: bytes
    firsts: dict[bytes, int]

    def take(self, value: bytes, now_ns: int, weight: float = 1.0, *, rated: bool = False) -> None:
        """Take a round trip in ms, or -1."""
        given = numeric(value)
        if given is None or (given < 0 and given != -1):
            self.counts.drops[Drop.BAD_VALUE if given is None else Drop.NEGATIVE_TIME] += 1
            return
        self.counts.samples += 1
        starts = self.gauges.starts
        is_first = given >= 0 and bool(starts) and self.firsts.get(self.contact) != starts
        if is_first:
            if len(self.firsts) >= MOST_CONTACTS:
                self.firsts.clear()
            self.firsts[self.contact] = starts
        for timer in self.timers:
            if given < 0:
                timer.unreachable += 1
            elif is_first:
                timer.first += 1
            else:
                timer.add(given * self.scale, weight)
            if not timer.touched:
                timer.touched = True
                self.touched.append(timer)


@dataclass(eq=False, slots=True)
class SetSlot:
    """Adds values to a set."""

    counts: Counts
    values: DistinctValues
    touched: list[Cell]

    def take(self, value: bytes, now_ns: int, weight: float = 1.0, *, rated: bool = False) -> None:
        """Add a value, any text."""
        self.counts.samples += 1
        values = self.values
        values.add(value)
        if not values.touched:
            values.touched = True
            self.touched.append(values)


@dataclass(eq=False, slots=True)
class NotedSlot:
    """Calls a function with the time of each value, then passes the value on."""

    note: Callable[[int], None]
    slot: Slot

    def take(self, value: bytes, now_ns: int, weight: float = 1.0, *, rated: bool = False) -> None:
        """Call the function and pass the value on."""
        self.note(now_ns)
        self.slot.take(value, now_ns, weight, rated=rated)


class Cells:
    """Values of counters, timers and sets since the last flush, with the slots that add to them."""

    def __init__(self, counts: Counts, gauges: Gauges) -> None:
        self._counts = counts
        self._gauges = gauges
        self._cells: dict[Series, Cell] = {}
        self._touched: list[Cell] = []
        # By contact: the number of the last start whose first round trip was received.
        self._firsts: dict[bytes, int] = {}
        self._round_trips = Timer(Series(PJSIP_RTT_ALL.name))

    def slot(self, sample: Sample, series: Series, target: Target, known: Known | None) -> Slot:
        """A slot for a counter, timer or set."""
        cell, touched = self._cells.get(series), self._touched
        if sample.type in (COUNTER, METER):
            if not isinstance(cell, Sum) or cell.field != target.field:
                cell = self._cells[series] = Sum(series, target.field)
            return CounterSlot(self._counts, cell, touched, target.scale)
        if sample.type == SET:
            if not isinstance(cell, DistinctValues):
                cell = self._cells[series] = DistinctValues(series)
            return SetSlot(self._counts, cell, touched)
        if not isinstance(cell, Timer):
            cell = self._cells[series] = Timer(series)
        if known is not None and known.role is Role.RTT:
            timers = (cell, self._round_trips)
            return RoundTripSlot(
                self._counts, self._gauges, timers, touched, target.scale, sample.name, self._firsts
            )
        return TimerSlot(self._counts, cell, touched, target.scale, sample.type != TIMER)

    def forget(self, series: Series) -> None:
        """Drop the values of a series."""
        self._cells.pop(series, None)

    def flush(self) -> Iterator[tuple[Series, Mapping[str, FieldValue]]]:
        """Counters, timers and sets with values since the last flush, each with its fields."""
        for cell in self._touched:
            cell.touched = False
            yield cell.series, cell.flush()
        self._touched.clear()
