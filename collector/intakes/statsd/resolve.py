"""From a name to its slot: the mapping, Asterisk's own names, budgets. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Final

from collector.intakes.series import Series
from collector.intakes.statsd.budget import SeriesBudget
from collector.intakes.statsd.drops import Counts, Drop, Ignored
from collector.intakes.statsd.gauge import Gauge
from collector.intakes.statsd.gauges import Gauges
from collector.intakes.statsd.line import COUNTER, GAUGE, METER, SET, TIMER, Sample
from collector.intakes.statsd.mapping import MetricType, NameMapping, Target
from collector.intakes.statsd.names import (
    SUBSCRIPTION,
    Known,
    Role,
    recognise,
    without_meter_suffix,
)
from collector.intakes.statsd.sets import DistinctValues
from collector.intakes.statsd.slots import (
    CounterSlot,
    Dropped,
    GaugeSlot,
    MeterSlot,
    RoundTripSlot,
    SetSlot,
    Slot,
    SubscriptionSlot,
    Sum,
    TimerSlot,
)
from collector.intakes.statsd.timers import Timer
from collector.lines import FieldValue, label
from collector.schema import LABEL_LENGTH, OTHER
from collector.schema.live import (
    ASTERISK,
    PJSIP_RTT_ALL,
    STATSD_COUNTER,
    STATSD_GAUGE,
    STATSD_SET,
    STATSD_TIMER,
    UNCERTAIN,
)

MOST_PREFIXES: Final = 16
"""The most prefixes of one Asterisk that are recognised."""
_NS_PER_DAY: Final = 86_400 * 10**9
_DIGEST: Final = 8

_TYPES: Final[Mapping[bytes, MetricType]] = {
    COUNTER: "counter",
    METER: "counter",
    GAUGE: "gauge",
    SET: "set",
    TIMER: "observer",
    b"h": "observer",
    b"d": "observer",
}
_GENERIC: Final[Mapping[MetricType, str]] = {
    "counter": STATSD_COUNTER.name,
    "gauge": STATSD_GAUGE.name,
    "set": STATSD_SET.name,
    "observer": STATSD_TIMER.name,
}
NAME_TAG: Final = "name"
"""The tag of the measurements of names that no rule maps."""
# A tag called like a field could not be queried.
_RESERVED: Final = frozenset({ASTERISK.name, NAME_TAG, "time", "value", "count", UNCERTAIN})


def tag_value(text: str) -> str:
    """A tag's value: clean, at most 64 characters, and still unique where the text is longer."""
    if len(text) <= LABEL_LENGTH:
        return label(text)
    digest = blake2b(text.encode(errors="replace"), digest_size=_DIGEST // 2).hexdigest()
    return f"{label(text[: LABEL_LENGTH - _DIGEST - 1])}~{digest}"


class Resolver:
    """Finds or makes the slot of a name, and holds what the slots fill, but for gauges."""

    def __init__(self, mapping: NameMapping, counts: Counts, gauges: Gauges) -> None:
        self.mapping = mapping
        self.prefixes: set[str] = {""}
        """Prefixes of which it is certain that this Asterisk has them."""
        self._stale = False
        self._counts = counts
        self._gauges = gauges
        self._budget = SeriesBudget()
        self._flush = 0
        self._day = 0
        self._types: dict[Series, MetricType] = {}
        self._sums: dict[Series, Sum] = {}
        self._timers: dict[Series, Timer] = {}
        self._sets: dict[Series, DistinctValues] = {}
        self._touched_sums: list[Sum] = []
        self._touched_timers: list[Timer] = []
        self._touched_sets: list[DistinctValues] = []
        self._firsts: dict[bytes, int] = {}
        self._round_trips = Timer(Series(PJSIP_RTT_ALL.name))
        self._places: dict[Series, str | None] = {}

    def resolve(self, sample: Sample, now_ns: int) -> tuple[Slot, bool]:
        """The slot of a sample; and whether it lasts, or is for the running flush only."""
        name = sample.name.decode(errors="replace")
        known = self._known(recognise(name, sample.type))
        if known is None and (plain := self._known(without_meter_suffix(name, sample.type))):
            sample = sample._replace(type=plain.type, name=plain.name.encode())
            slot, lasting = self._resolve(sample, plain.name, plain, now_ns)
            return MeterSlot(self._counts, slot), lasting
        slot, lasting = self._resolve(sample, name, known, now_ns)
        if known is not None and known.name == SUBSCRIPTION:
            slot = SubscriptionSlot(self._gauges, slot)
        return slot, lasting

    def _known(self, known: Known | None) -> Known | None:
        """One of Asterisk's own names, unless it may be a dialplan's behind a made-up prefix."""
        if known is None or known.prefix in self.prefixes:
            return known
        if not known.certain:
            return None
        if len(self.prefixes) < MOST_PREFIXES:
            self.prefixes.add(known.prefix)
            # Names with this prefix were taken for others.
            self._stale = True
        return known

    def _resolve(
        self, sample: Sample, name: str, known: Known | None, now_ns: int
    ) -> tuple[Slot, bool]:
        metric_type = _TYPES[sample.type]
        found = self.mapping.find(name, metric_type)
        if found is None and known is not None and known.prefix:
            found = self.mapping.find(known.name, metric_type)
        if found == "drop":
            if known is None or known.role is not Role.CONTACTS:
                return Dropped(self._counts, Drop.MAPPED), True
            # Its zeros still show the starts of Asterisk.
            series = Series("", ((NAME_TAG, known.name),))
            return self._gauge(series, Target("", {}), known, stored=False), True
        target = found or Target(_GENERIC[metric_type], {NAME_TAG: name})
        series = self._series(target, sample.tags)
        if self._types.get(series, metric_type) != metric_type:
            return Dropped(self._counts, Drop.TYPE_CONFLICT), True
        has_place = self._admit(series, now_ns)
        if not has_place:
            if metric_type not in ("counter", "observer"):
                return Dropped(self._counts, Drop.OVER_BUDGET), False
            self._counts.ignored[Ignored.AS_OTHER] += 1
            series = Series(series.measurement, tuple((tag, OTHER) for tag, _ in series.tags))
            if self._types.get(series, metric_type) != metric_type:
                return Dropped(self._counts, Drop.TYPE_CONFLICT), False
        self._types[series] = metric_type
        if metric_type == "gauge":
            return self._gauge(series, target, known, stored=True), True
        return self._cell_slot(sample, series, target, known), has_place

    def _cell_slot(
        self, sample: Sample, series: Series, target: Target, known: Known | None
    ) -> Slot:
        """The slot of a counter, timer or set."""
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

    def _gauge(
        self, series: Series, target: Target, known: Known | None, *, stored: bool
    ) -> GaugeSlot:
        gauge = self._gauges.get(series)
        if gauge is None:
            role = known.role if known else Role.OTHER
            total = known is not None and known.name == "endpoints.count"
            gauge = self._gauges.add(Gauge(series, target.field, role, total=total, stored=stored))
        gauge.field = target.field
        return GaugeSlot(self._counts, self._gauges, gauge, target.scale)

    def _series(self, target: Target, line_tags: tuple[tuple[str, str], ...]) -> Series:
        tags = {key: tag_value(value) for key, value in target.tags.items()}
        for key, value in line_tags:
            if key in _RESERVED:
                self._counts.ignored[Ignored.BAD_TAG] += 1
            elif key not in tags or target.line_tags_win:
                tags[key] = tag_value(value)
        return Series.of(target.measurement, **tags)

    def _admit(self, series: Series, now_ns: int) -> bool:
        day = now_ns // _NS_PER_DAY
        place = self._budget.admit(series, day, self._flush)
        if isinstance(place, Series):
            self._drop(place)
        if place is not False:
            self._places[series] = str(day)
        return place is not False

    def _drop(self, series: Series) -> None:
        """Forget a series that has given its place away."""
        self._places[series] = None
        self._types.pop(series, None)
        self._sums.pop(series, None)
        self._timers.pop(series, None)
        self._sets.pop(series, None)
        self._gauges.forget(series)
        self._stale = True

    def stale(self) -> bool:
        """Whether slots that were given out may be wrong now: all are to be looked up again."""
        stale, self._stale = self._stale, False
        return stale

    def flush(self, now_ns: int) -> Iterator[tuple[Series, dict[str, FieldValue]]]:
        """Each counter, timer and set that got a value since the last flush, with its fields."""
        self._flush += 1
        day = now_ns // _NS_PER_DAY
        if day != self._day:
            self._day = day
            for gauge in self._gauges:
                self._seen(gauge.series, gauge.heard // _NS_PER_DAY)
        for total in self._touched_sums:
            total.touched = False
            self._seen(total.series, day)
            yield total.series, {total.field: total.value}
            total.value = 0.0
        for timer in self._touched_timers:
            timer.touched = False
            self._seen(timer.series, day)
            yield timer.series, dict(timer.flush())
        for values in self._touched_sets:
            values.touched = False
            self._seen(values.series, day)
            yield values.series, {"count": values.flush()}
        for touched in (self._touched_sums, self._touched_timers, self._touched_sets):
            touched.clear()

    def _seen(self, series: Series, day: int) -> None:
        """Note that a series came on a day, if it has a place."""
        if self._budget.day(series) not in (None, day):
            self._budget.hold(series, day)
            self._places[series] = str(day)

    def saved(self) -> Mapping[Series, str | None]:
        """Days on which series came, changed since the last call; None: it has no place now."""
        places, self._places = self._places, {}
        return places

    def restore(self, places: Mapping[Series, int]) -> None:
        """Give saved series their places."""
        for series, day in places.items():
            self._budget.hold(series, day)
