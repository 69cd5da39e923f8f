"""Counters, timers and sets of one Asterisk since the last flush. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from collector.intakes.series import Series
from collector.intakes.statsd.drops import Counts
from collector.intakes.statsd.gauges import Gauges
from collector.intakes.statsd.line import COUNTER, METER, SET, TIMER, Sample
from collector.intakes.statsd.mapping import Target
from collector.intakes.statsd.names import Known, Role
from collector.intakes.statsd.sets import DistinctValues
from collector.intakes.statsd.slots import (
    Cell,
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
