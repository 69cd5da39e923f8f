"""Resolves names to slots by the mapping, Asterisk's own names and the budgets. Pure."""

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
    NAME_MAX,
    SUBSCRIPTION,
    Known,
    Role,
    recognise,
    without_meter_suffix,
)
from collector.intakes.statsd.slots import Cells, Dropped, GaugeSlot, NotedSlot, Slot
from collector.lines import NS_PER_DAY, FieldValue, label
from collector.schema import LABEL_LENGTH, OTHER
from collector.schema.live import (
    ASTERISK,
    PJSIP_RTT,
    STATSD_COUNTER,
    STATSD_GAUGE,
    STATSD_SET,
    STATSD_TIMER,
    UNCERTAIN,
)

MOST_PREFIXES: Final = 16
"""Most prefixes of one Asterisk that are recognised."""
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
"""Tag with the name of a metric that no rule maps."""
# A tag called like a field could not be queried.
_RESERVED: Final = frozenset({ASTERISK.name, NAME_TAG, "time", UNCERTAIN, "count", "value"}) | {
    field.name for field in PJSIP_RTT.fields
}


def tag_value(text: str) -> str:
    """A tag's value: clean, at most 64 characters; a longer text is cut but stays unique."""
    if len(text) <= LABEL_LENGTH:
        return label(text)
    digest = blake2b(text.encode(errors="replace"), digest_size=_DIGEST // 2).hexdigest()
    return f"{label(text[: LABEL_LENGTH - _DIGEST - 1])}~{digest}"


class Resolver:
    """Finds or makes the slot of a name, within the budgets of series."""

    def __init__(self, mapping: NameMapping, counts: Counts, gauges: Gauges) -> None:
        self.mapping = mapping
        self.prefixes: set[str] = {""}
        """Prefixes that this Asterisk certainly uses."""
        self._counts = counts
        self._gauges = gauges
        self._budget = SeriesBudget()
        self._flush = 0
        self._day = 0
        self._types: dict[Series, MetricType] = {}
        self._cells = Cells(counts, gauges)
        self._places: dict[Series, str | None] = {}

    def resolve(self, sample: Sample, now_ns: int) -> tuple[Slot, bool]:
        """The slot of a sample, and whether it lasts longer than the current flush."""
        name = sample.name.decode(errors="replace")
        known = self._known(recognise(name, sample.type))
        if known is None and (plain := self._known(without_meter_suffix(name, sample.type))):
            sample = sample._replace(type=plain.type, name=plain.name.encode())
            slot, lasting = self._resolve(sample, plain.name, plain, now_ns)
            return NotedSlot(self._count_renamed, slot), lasting
        slot, lasting = self._resolve(sample, name, known, now_ns)
        if known is not None and known.name == SUBSCRIPTION:
            slot = NotedSlot(self._gauges.channels_subscribed, slot)
        return slot, lasting

    def _count_renamed(self, _now_ns: int) -> None:
        self._counts.meter_support += 1

    def _known(self, known: Known | None) -> Known | None:
        """`known`, or None if it may be a dialplan's own name with a made-up prefix."""
        if known is None or known.prefix in self.prefixes:
            return known
        if not known.certain:
            return None
        if len(self.prefixes) < MOST_PREFIXES:
            self.prefixes.add(known.prefix)
            # Until now names with this prefix counted as a dialplan's.
            self._gauges.stale = True
        return known

    def _resolve(
        self, sample: Sample, name: str, known: Known | None, now_ns: int
    ) -> tuple[Slot, bool]:
        metric_type = _TYPES[sample.type]
        target = self._target(name, known, metric_type)
        if target is None:
            return Dropped(self._counts, Drop.MAPPED), True
        series = self._series(target, sample.tags)
        if not series.measurement:
            return self._gauge(series, target, known, sample, name), True
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
            return self._gauge(series, target, known, sample, name), True
        return self._cells.slot(sample, series, target, known), has_place

    def _target(self, name: str, known: Known | None, metric_type: MetricType) -> Target | None:
        """The target of a name; None if a rule drops it. Without a measurement it is not stored."""
        found = self.mapping.find(name, metric_type)
        if found is None and known is not None and known.prefix:
            found = self.mapping.find(known.name, metric_type)
        if found != "drop":
            return found or Target(_GENERIC[metric_type], {NAME_TAG: name})
        if known is None or known.role is not Role.CONTACTS:
            return None
        # Its zeros still show the starts of Asterisk.
        return Target("", {NAME_TAG: known.name})

    def remap(self, mapping: NameMapping, now_ns: int) -> None:
        """Use another mapping from now on; gauges continue under their new series."""
        self.mapping = mapping
        self._types = {}
        for gauge in list(self._gauges):
            if gauge.name:
                self._move(gauge, now_ns)
        self._types |= dict.fromkeys((gauge.series for gauge in self._gauges), "gauge")

    def _move(self, gauge: Gauge, now_ns: int) -> None:
        known = recognise(gauge.name, GAUGE)
        if known is not None and known.prefix not in self.prefixes:
            known = None
        target = self._target(gauge.name, known, "gauge")
        series = self._series(target, gauge.tags) if target else None
        if target is not None and series == gauge.series:
            gauge.field = target.field
            return
        if self._budget.day(gauge.series) is not None:
            self._budget.free(gauge.series)
        other = self._gauges.get(series) if series else None
        if target is None or series is None or other is not None:
            self._drop(gauge.series)
            if other is not None:
                # Two gauges that were counted separately are one now.
                self._gauges.doubt(other, now_ns)
            return
        gauge.field = target.field
        gauge.stored = bool(series.measurement)
        self._places[gauge.series] = None
        if gauge.stored:
            day = gauge.heard // NS_PER_DAY
            self._budget.hold(series, day)
            self._places[series] = str(day)
        self._gauges.move(gauge, series)

    def _gauge(
        self, series: Series, target: Target, known: Known | None, sample: Sample, name: str
    ) -> GaugeSlot:
        gauge = self._gauges.get(series)
        if gauge is None:
            role = known.role if known else Role.OTHER
            total = known is not None and known.name == "endpoints.count"
            stored = bool(series.measurement)
            gauge = self._gauges.add(Gauge(series, target.field, role, total=total, stored=stored))
            if len(name) <= NAME_MAX:
                gauge.name, gauge.tags = name, sample.tags
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
        day = now_ns // NS_PER_DAY
        place = self._budget.admit(series, day, self._flush)
        if isinstance(place, Series):
            self._drop(place)
        if place is not False:
            self._places[series] = str(day)
        return place is not False

    def _drop(self, series: Series) -> None:
        """Remove a series that lost its place."""
        self._places[series] = None
        self._types.pop(series, None)
        self._cells.forget(series)
        self._gauges.forget(series)
        self._gauges.stale = True

    def flush(self, now_ns: int) -> Iterator[tuple[Series, Mapping[str, FieldValue]]]:
        """Counters, timers and sets with values since the last flush, each with its fields."""
        self._flush += 1
        day = now_ns // NS_PER_DAY
        if day != self._day:
            self._day = day
            for gauge in self._gauges:
                self._seen(gauge.series, gauge.heard // NS_PER_DAY)
        for series, fields in self._cells.flush():
            self._seen(series, day)
            yield series, fields

    def _seen(self, series: Series, day: int) -> None:
        """Record the day on which a series was sent, if it has a place."""
        if self._budget.day(series) not in (None, day):
            self._budget.hold(series, day)
            self._places[series] = str(day)

    def saved(self) -> Mapping[Series, str | None]:
        """Days on which series were last sent, changed since the last call; None: no place."""
        places, self._places = self._places, {}
        return places

    def restore(self, places: Mapping[Series, int]) -> None:
        """Restore the places of saved series."""
        for series, day in places.items():
            self._budget.hold(series, day)
