"""Aggregation of one Asterisk's datagrams into the points of each flush. Pure.

It has no sockets and no clock: the caller passes times, in ns since 1970. No input raises, and
memory is bounded by `budget`, `MOST_NAMES`, and the bounds of timers and sets.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from collector.intakes.series import Series
from collector.intakes.statsd.drops import Counts, Drop
from collector.intakes.statsd.gauges import Gauges
from collector.intakes.statsd.line import MOST_SAMPLES, SET, TYPES, Sample, lines, parse
from collector.intakes.statsd.mapping import NameMapping
from collector.intakes.statsd.names import PREFIX_MAX
from collector.intakes.statsd.resolve import Resolver
from collector.intakes.statsd.slots import Dropped, Slot
from collector.intakes.statsd.starts import PAUSE_NS
from collector.lines import FieldValue, Point
from collector.schema.live import ASTERISK, STATSD_TRAFFIC, UNCERTAIN

MOST_NAMES: Final = 20_000
"""Most names whose slots are cached; beyond it the cache is emptied."""
MOST_REFUSED: Final = 2000
"""Most names over budget that are resolved in one flush; further new names are dropped."""
_CACHED_NAME: Final = 300
"""Longest name whose slot is cached, in bytes."""
_MOST_COLON_PREFIXES: Final = 16
_HEARD: Final = "heard"
_PREFIXES: Final = "prefixes"
_SURE: Final = "sure"
_GAUGE: Final = "gauge"
_PLACE: Final = "place"

_Key = tuple[bytes, bytes, tuple[tuple[str, str], ...]]
"""Type, name and tags of a sample."""


class Aggregator:
    """Aggregates one Asterisk's datagrams into the points of each flush. No method raises.

    `asterisk` is the value of the tag `asterisk`, `mapping` from `mapping.shipped()` or
    `mapping.read(text)`. All times are UTC in ns since 1970.
    """

    def __init__(self, asterisk: str, mapping: NameMapping) -> None:
        self.counts = Counts()
        """Counters since the start; the caller turns differences into metrics."""
        self._asterisk = asterisk
        self._gauges = Gauges(self.counts)
        self._gaps = self._gauges.gaps
        self._resolver = Resolver(mapping, self.counts, self._gauges)
        # By type and name. A line feed may end a datagram.
        by_type: dict[bytes, dict[bytes, Slot]] = {type_: {} for type_ in TYPES}
        self._slots = by_type | {type_ + b"\n": slots for type_, slots in by_type.items()}
        self._by_type = by_type
        self._tagged: dict[_Key, Slot] = {}
        self._names = 0
        self._over_budget = Dropped(self.counts, Drop.OVER_BUDGET)
        # Number of names over budget that were resolved since the last flush.
        self._refused: list[_Key] = []
        self._refusals = 0
        # Beginnings of names that contain a colon, such as a prefix; used as an ordered set.
        self._colon_prefixes: dict[bytes, None] = {}
        self._told = Counts()
        self._told_dropped = 0
        self._saved = self._facts()

    def take(self, datagram: bytes, now_ns: int) -> None:
        """Aggregate a datagram of one or several lines, or one line of a stream."""
        gaps = self._gaps
        if now_ns - gaps.heard >= PAUSE_NS:
            gaps.pause(now_ns)
        gaps.heard = now_ns
        if not self._take_known(datagram, now_ns):
            pieces = lines(datagram)
            for line in pieces[:MOST_SAMPLES]:
                self._take_line(line, now_ns)
            if len(pieces) > MOST_SAMPLES:
                self.counts.drops[Drop.TOO_LONG] += 1

    def _take_known(self, line: bytes, now_ns: int) -> bool:
        """Aggregate a line of one plain value, `name:value|type`, if its name has a slot."""
        head, _, type_ = line.rpartition(b"|")
        slots = self._slots.get(type_)
        if slots is None:
            return False
        name, _, value = head.rpartition(b":")
        slot = slots.get(name)
        if slot is None:
            return False
        slot.take(value, now_ns)
        return True

    def _take_line(self, line: bytes, now_ns: int) -> None:
        if self._take_known(line, now_ns):
            return
        parsed = parse(line, self._colon_prefixes)
        for drop in parsed.drops:
            self.counts.drops[drop] += 1
        for ignored in parsed.ignored:
            self.counts.ignored[ignored] += 1
        for sample in parsed.samples:
            self._slot(sample, now_ns).take(sample.value, now_ns, sample.weight, rated=sample.rated)

    def _slot(self, sample: Sample, now_ns: int) -> Slot:
        """The slot for a sample's name, type and tags."""
        slots = self._by_type[sample.type]
        key = (sample.type, sample.name, sample.tags)
        held = self._tagged.get(key) if sample.tags else slots.get(sample.name)
        if held is not None:
            return held
        if self._refusals >= MOST_REFUSED:
            return self._over_budget
        if sample.type != SET and b":" in sample.name:
            self._note_colon(sample.name)
        slot, lasting = self._resolver.resolve(sample, now_ns)
        if self._gauges.stale:
            self._forget_slots()
        self._refusals += not lasting
        if len(sample.name) > _CACHED_NAME:
            return slot
        if not lasting:
            # It may get a place after the next flush.
            self._refused.append(key)
        if len(self._tagged) + self._names >= MOST_NAMES:
            self._forget_slots()
        if sample.tags:
            self._tagged[key] = slot
        else:
            self._names += 1
            slots[sample.name] = slot
        return slot

    def _note_colon(self, name: bytes) -> None:
        """Remember the beginning of a name with a colon: an Asterisk's prefix may contain one."""
        end = name.find(b".", name.rfind(b":")) + 1
        if 0 < end <= PREFIX_MAX + 1 and name[:end] not in self._colon_prefixes:
            if len(self._colon_prefixes) >= _MOST_COLON_PREFIXES:
                del self._colon_prefixes[next(iter(self._colon_prefixes))]
            self._colon_prefixes[name[:end]] = None

    def _forget_slots(self) -> None:
        for slots in self._by_type.values():
            slots.clear()
        self._tagged.clear()
        self._refused.clear()
        self._names = 0
        self._gauges.stale = False

    def lost(self, now_ns: int) -> None:
        """Mark all gauges as uncertain because datagrams were lost, as by the kernel."""
        self._gauges.lost(now_ns)

    def truth(self, series: Series, value: float, now_ns: int) -> None:
        """Set a gauge to its true value, from AMI; it is no longer uncertain.

        A gauge that StatsD has not sent is ignored.
        """
        self._gauges.truth(series, value, now_ns)

    def remap(self, mapping: NameMapping) -> None:
        """Use another mapping from now on (SIGHUP). Gauges continue under their new series."""
        self._resolver.remap(mapping, self._gaps.heard)
        self._forget_slots()

    def flush(self, now_ns: int) -> list[Point]:
        """The points of the flush that ends at `now_ns`, a multiple of the interval.

        A point's `time` is `now_ns`. Points with the field `uncertain` alone may have the time of
        an earlier flush, in which a gauge was found to have been wrong. Tags contain `asterisk`.
        """
        for key in self._refused:
            type_, name, tags = key
            if tags:
                self._tagged.pop(key, None)
            elif self._by_type[type_].pop(name, None):
                self._names -= 1
        self._refused.clear()
        self._refusals = 0
        points = list(self._points(now_ns))
        if self._gauges.stale:
            self._forget_slots()
        return points

    def _points(self, now_ns: int) -> Iterator[Point]:
        uncertain = 0
        for gauge, wrong_for in self._gauges.flush(now_ns):
            value: dict[str, FieldValue] = {gauge.field: gauge.value}
            if wrong_for >= 0:
                uncertain += 1
                value[UNCERTAIN] = wrong_for
            yield self._point(gauge.series, value, now_ns)
        for series, since, at in self._gauges.wrong():
            yield self._point(series, {UNCERTAIN: (at - since) // 10**9}, at)
        for series, fields in self._resolver.flush(now_ns):
            yield self._point(series, fields, now_ns)
        yield self._point(
            Series(STATSD_TRAFFIC.name), self._traffic(now_ns) | {UNCERTAIN: uncertain}, now_ns
        )

    def _point(self, series: Series, fields: Mapping[str, FieldValue], time_ns: int) -> Point:
        return Point(
            series.measurement,
            {ASTERISK.name: self._asterisk, **dict(series.tags)},
            fields,
            time_ns,
        )

    def _traffic(self, now_ns: int) -> dict[str, FieldValue]:
        now, before = self.counts, self._told
        # Samples dropped by an operator's rule are no loss.
        dropped = (now.drops - Counter({Drop.MAPPED: now.drops[Drop.MAPPED]})).total()
        fields: dict[str, FieldValue] = {
            "samples": now.samples - before.samples,
            "dropped": dropped - self._told_dropped,
            "underflows": now.underflows - before.underflows,
            "restarts": now.restarts - before.restarts,
        }
        if self._gaps.heard:
            fields["silent"] = max(0, (now_ns - self._gaps.heard) // 10**9)
        self._told = replace(now)
        self._told_dropped = dropped
        return fields

    def changed(self) -> dict[str, str | None]:
        """Changes of the saved state since the last call: opaque text by key, None to delete it.

        Cheap if nothing changed; called each second.
        """
        changed: dict[str, str | None] = {
            _key(_GAUGE, series): text for series, text in self._gauges.saved()
        }
        for series, place in self._resolver.saved().items():
            changed[_key(_PLACE, series)] = place
        facts = self._facts()
        changed |= {key: text for key, text in facts.items() if text != self._saved.get(key)}
        self._saved = facts
        return changed

    def _facts(self) -> dict[str, str]:
        """Saved state other than gauges and places: opaque text by key."""
        return {
            _HEARD: f"{self._gaps.heard} {self._gaps.longest}",
            _SURE: str(int(self._gauges.sure)),
            _PREFIXES: json.dumps(sorted(self._resolver.prefixes)),
        }

    def restore(self, saved: Mapping[str, str], now_ns: int, *, lost: bool = True) -> None:
        """Restore the state that the memory saved, before the first datagram.

        With `lost`, datagrams may be missing: gauges are uncertain since the last saved one.
        Raises ValueError, TypeError or KeyError for text that `changed` has not written.
        """
        heard, longest = map(int, saved.get(_HEARD, f"{now_ns} 0").split())
        gauges: dict[Series, str] = {}
        places: dict[Series, int] = {}
        for key, text in saved.items():
            if key == _PREFIXES:
                self._resolver.prefixes |= set(json.loads(text))
            elif key not in (_HEARD, _SURE):
                kind, series = _series(key)
                if kind == _GAUGE:
                    gauges[series] = text
                elif kind == _PLACE:
                    places[series] = int(text)
        self._resolver.restore(places)
        self._gaps.longest = longest
        self._gauges.restore(
            gauges, heard, sure=saved.get(_SURE) == "1", lost_until_ns=now_ns if lost else 0
        )
        self._saved = {}
        # The mapping may be another one than when they were saved.
        self._resolver.remap(self._resolver.mapping, heard)


def _key(kind: str, series: Series) -> str:
    return json.dumps([kind, series.measurement, *series.tags])


def _series(key: str) -> tuple[str, Series]:
    kind, measurement, *tags = json.loads(key)
    return kind, Series(measurement, tuple((name, value) for name, value in tags))
