"""Counters, timers and sets of one Asterisk since the last flush. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from collector.intakes.series import Series
from collector.intakes.statsd.drops import Counts
from collector.intakes.statsd.gauges import Gauges
from collector.intakes.statsd.line import COUNTER, METER, SET, TIMER, Sample
from collector.intakes.statsd.mapping import Target
from collector.intakes.statsd.names import Known, Role
from collector.intakes.statsd.sets import DistinctValues
from collector.intakes.statsd.slots import (
    CounterSlot,
    RoundTripSlot,
    SetSlot,
    Slot,
    Sum,
    TimerSlot,
)
from collector.intakes.statsd.timers import Timer
from collector.lines import FieldValue
from collector.schema.live import PJSIP_RTT_ALL


class Cells:
    """Values of counters, timers and sets since the last flush, with the slots that add to them."""

    def __init__(self, counts: Counts, gauges: Gauges) -> None:
        self._counts = counts
        self._gauges = gauges
        self._sums: dict[Series, Sum] = {}
        self._timers: dict[Series, Timer] = {}
        self._sets: dict[Series, DistinctValues] = {}
        self._touched_sums: list[Sum] = []
        self._touched_timers: list[Timer] = []
        self._touched_sets: list[DistinctValues] = []
        # By contact: the number of the last start whose first round trip was received.
        self._firsts: dict[bytes, int] = {}
        self._round_trips = Timer(Series(PJSIP_RTT_ALL.name))

    def slot(self, sample: Sample, series: Series, target: Target, known: Known | None) -> Slot:
        """A slot for a counter, timer or set."""
        if sample.type in (COUNTER, METER):
            total = self._sums.get(series)
            if total is None or total.field != target.field:
                total = self._sums[series] = Sum(series, target.field)
            return CounterSlot(self._counts, total, self._touched_sums, target.scale)
        if sample.type == SET:
            values = self._sets.get(series)
            if values is None:
                values = self._sets[series] = DistinctValues(series)
            return SetSlot(self._counts, values, self._touched_sets)
        timer = self._timers.get(series)
        if timer is None:
            timer = self._timers[series] = Timer(series)
        touched = self._touched_timers
        if known is not None and known.role is Role.RTT:
            return RoundTripSlot(
                self._counts,
                self._gauges,
                (timer, self._round_trips),
                touched,
                target.scale,
                contact=sample.name,
                firsts=self._firsts,
            )
        may_be_negative = sample.type != TIMER
        return TimerSlot(
            self._counts, timer, touched, target.scale, may_be_negative=may_be_negative
        )

    def forget(self, series: Series) -> None:
        """Drop the values of a series."""
        self._sums.pop(series, None)
        self._timers.pop(series, None)
        self._sets.pop(series, None)

    def flush(self) -> Iterator[tuple[Series, dict[str, FieldValue]]]:
        """Counters, timers and sets with values since the last flush, each with its fields."""
        for total in self._touched_sums:
            total.touched = False
            yield total.series, {total.field: total.value}
            total.value = 0.0
        for timer in self._touched_timers:
            timer.touched = False
            yield timer.series, dict(timer.flush())
        for values in self._touched_sets:
            values.touched = False
            yield values.series, {"count": values.flush()}
        for touched in (self._touched_sums, self._touched_timers, self._touched_sets):
            touched.clear()
