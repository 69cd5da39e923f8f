"""Gauges of one Asterisk: right over its restarts, or marked with the time of uncertainty. Pure.

A relative gauge (`+1`, `-1`) is right from a recognised start of Asterisk on, while no datagram is
lost. docs/senders/statsd-wire.md has the rules, and the signs of a start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from collector.intakes.series import Series
from collector.intakes.statsd.drops import Counts
from collector.intakes.statsd.endpoints import EndpointSet, Finding
from collector.intakes.statsd.gauge import Gauge
from collector.intakes.statsd.names import Role
from collector.intakes.statsd.starts import NS_PER_S, SET_GROWS_NS, START_TAKES_NS, Gaps

SILENT_DAYS: Final = 7
"""Days of the Asterisk's silence after which its gauges are no longer stored."""
IDLE_DAYS: Final = 30
"""Days after which an unchanged gauge of an endpoint or of the dialplan is no longer stored."""
ONE_START_NS: Final = 60 * NS_PER_S
"""Longest time between the first and the last zero of one start of Asterisk."""
NEGATIVE_NS: Final = NS_PER_S
"""Longest time between the `0` and the `-7` that set a gauge to -7."""
SHORTEST_LIFE_NS: Final = 10_000_000
"""Shortest time between two starts, since each goes through all gauges."""
SILENCE_NS: Final = 20 * NS_PER_S
"""Shortest silence of an Asterisk that makes its gauges uncertain."""
SILENCE_FACTOR: Final = 3
"""Factor of an Asterisk's longest pause after which it counts as silent."""
MOST_WRONG: Final = 10_000
"""Most points of earlier flushes that are marked afterwards, approximately."""
_FLUSHES: Final = 64
"""Number of latest flushes that can be marked afterwards."""
_NS_PER_DAY: Final = 86_400 * NS_PER_S
# Sums of fractions return to 0 except for a rounding error.
_NOTHING: Final = 1e-9

_PJSIP: Final = frozenset({Role.CONTACTS, Role.REGISTRATIONS})


class Gauges:
    """All gauges of one Asterisk."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._gauges: dict[Series, Gauge] = {}
        self._changed: list[Gauge] = []
        self._gone: list[Series] = []
        self.gaps = Gaps()
        self.starts = 0
        """Number of recognised starts of the Asterisk."""
        self.sure = False
        """Whether a start of the Asterisk has been seen and nothing has been lost since."""
        self.stale = False
        """Whether names must be resolved again, since a slot may refer to a dropped series."""
        self._zeroed: set[Gauge] = set()
        self._last_zero = 0
        self._by_role: dict[Role, dict[Series, Gauge]] = {role: {} for role in Role}
        self._unloaded = 0
        self._set = EndpointSet()
        self._started = 0
        self._lost = 0
        self._silent_since = 0
        self._flushes: list[int] = []
        self._wrong: list[tuple[Series, int, int]] = []

    def __iter__(self) -> Iterator[Gauge]:
        return iter(self._gauges.values())

    def get(self, series: Series) -> Gauge | None:
        """The gauge of a series; None if there is none."""
        return self._gauges.get(series)

    def add(self, gauge: Gauge) -> Gauge:
        """Add and return a new gauge."""
        self._gauges[gauge.series] = gauge
        self._by_role[gauge.role][gauge.series] = gauge
        return gauge

    def forget(self, series: Series) -> None:
        """Drop a gauge."""
        gauge = self._gauges.pop(series, None)
        if gauge is not None:
            del self._by_role[gauge.role][series]
            self.stale = True
            self._gone.append(series)
            if gauge.value and not gauge.is_set:
                # If it returns, it starts at 0 instead of its last value.
                self.sure = False

    def move(self, gauge: Gauge, series: Series) -> None:
        """Continue a gauge under another series, which has none yet."""
        del self._gauges[gauge.series]
        del self._by_role[gauge.role][gauge.series]
        self._gone.append(gauge.series)
        gauge.series = series
        self.add(gauge)
        self._save(gauge)

    def set(self, gauge: Gauge, value: float, now_ns: int) -> None:
        """Set a gauge to an absolute value."""
        if gauge.role in _PJSIP and value == 0:
            self._zero(gauge, now_ns)
        gauge.value = value
        gauge.is_set = True
        gauge.since = 0
        gauge.set_to_0 = now_ns if value == 0 else 0
        self._note(gauge, now_ns)

    def change(self, gauge: Gauge, delta: float, now_ns: int, *, rated: bool = False) -> None:
        """Change a gauge by a relative value. `rated`: it was sampled, so others are missing."""
        if rated or (gauge.heard == 0 and not self.sure):
            self.doubt(gauge, now_ns)
        if gauge.role is Role.ENDPOINTS:
            self._endpoints_change(gauge, delta, now_ns)
        value = gauge.value + delta
        if value < 0 and not gauge.signed:
            # A gauge is set to a negative value by `0` and, at once, the negative value.
            if gauge.role is Role.OTHER and 0 <= now_ns - gauge.set_to_0 <= NEGATIVE_NS:
                gauge.signed = True
            else:
                if value < -_NOTHING:
                    self._counts.underflows += 1
                    self.doubt(gauge, now_ns)
                value = 0.0
        gauge.value = value
        gauge.set_to_0 = 0
        self._note(gauge, now_ns)

    def truth(self, series: Series, value: float, now_ns: int) -> None:
        """Set a gauge that StatsD has sent to its true value."""
        if gauge := self._gauges.get(series):
            gauge.value = value
            gauge.since = 0
            self._note(gauge, now_ns)

    def lost(self, since_ns: int, until_ns: int = 0) -> None:
        """Mark every gauge as uncertain because datagrams may have been lost in this time."""
        self.sure = False
        self._lost = max(self._lost, since_ns, until_ns)
        for gauge in self._gauges.values():
            self.doubt(gauge, since_ns)

    def _note(self, gauge: Gauge, now_ns: int) -> None:
        gauge.heard = now_ns
        self._save(gauge)

    def _save(self, gauge: Gauge) -> None:
        if not gauge.changed and gauge.stored:
            gauge.changed = True
            self._changed.append(gauge)

    def doubt(self, gauge: Gauge, since_ns: int) -> None:
        """Mark a gauge as uncertain since a time."""
        if not gauge.since:
            gauge.since = since_ns
            self._save(gauge)

    def _endpoints_change(self, gauge: Gauge, delta: float, now_ns: int) -> None:
        self.gaps.endpoint_change(gauge, delta, now_ns, is_total=gauge.total)
        if not gauge.total:
            if delta < 0:
                self._set.state_fell()
            return
        finding = self._set.change(gauge.value, delta, now_ns, is_certain=not gauge.since)
        if finding is Finding.NEW_SET:
            for other in self._by_role[Role.ENDPOINTS].values():
                other.value = 0.0
                other.since = 0
                self._save(other)
        elif finding is not Finding.USUAL:
            for other in self._by_role[Role.ENDPOINTS].values():
                self.doubt(other, now_ns)
        if finding is Finding.UNLOADED:
            self._unloaded = now_ns

    def channels_subscribed(self, now_ns: int) -> None:
        """Record that a module has subscribed to the channels' topic.

        Modules do so at a start. Later it may be res_chan_stats, which has missed channels until
        it was loaded again.
        """
        for gauge in self._by_role[Role.CHANNELS].values():
            if gauge.heard > self._started and now_ns - self._started > SET_GROWS_NS:
                self.doubt(gauge, now_ns)

    # Starts of Asterisk.

    def _zero(self, gauge: Gauge, now_ns: int) -> None:
        """Handle a gauge of PJSIP set to 0, which Asterisk does to each of them at each start."""
        passed = now_ns - self._last_zero
        again = passed > ONE_START_NS or (gauge in self._zeroed and passed >= SHORTEST_LIFE_NS)
        is_first = all(other.role is not Role.CONTACTS for other in self._zeroed)
        if gauge.role is Role.CONTACTS and (again or is_first):
            self._start(now_ns)
            self._zeroed = set()
        elif again:
            # The module of registrations can also be loaded again by itself. If this was a start,
            # the zeros of the contacts were lost, or are yet to come.
            self.lost(now_ns)
            self._zeroed = set()
        self._zeroed.add(gauge)
        self._last_zero = now_ns

    def _start(self, now_ns: int) -> None:
        """Reset gauges at a start of Asterisk, or mark those that may outlive it."""
        self._counts.restarts += 1
        self.starts += 1
        self._started = now_ns
        self.sure = True
        down_since = self.gaps.down_since(now_ns)
        came_before, is_clear = self._came_before(now_ns)
        before = sum(number for gauge, number in came_before.items() if gauge.total)
        self._set.started(now_ns, before, is_clear=is_clear)
        for gauge in self._gauges.values():
            if down_since and (gauge.value or gauge.heard > down_since):
                self._was_wrong(gauge, down_since, now_ns)
            if gauge.role is Role.OTHER and gauge.is_set:
                # The thing that it counts may outlive the Asterisk or not.
                if gauge.heard < now_ns - NS_PER_S:
                    self.doubt(gauge, now_ns)
                continue
            # Zeros of registrations just before those of the contacts belong to this start.
            if not (gauge.role is Role.REGISTRATIONS and gauge in self._zeroed):
                gauge.value = came_before.get(gauge, 0.0)
            # The complete set of endpoints may not have been sent yet.
            gauge.since = 0 if is_clear or gauge.role is not Role.ENDPOINTS else now_ns
            self._save(gauge)
        self._unloaded = 0

    def _came_before(self, now_ns: int) -> tuple[dict[Gauge, float], bool]:
        """Endpoints that this start added before its first zero, and whether they are certain.

        They are uncertain if datagrams of the start may have been lost, or if endpoints were added
        more than once, which may have been a reload.
        """
        added, is_clear = self.gaps.started(now_ns)
        for gauge, number in added.items():
            # A few new ones among many were added by a reload.
            if gauge.total and 2 * number <= gauge.value - number:
                return {}, False
        return added, is_clear and (bool(added) or now_ns - self._lost > START_TAKES_NS)

    def _was_wrong(self, gauge: Gauge, since_ns: int, until_ns: int) -> None:
        was_marked = gauge.since and gauge.since <= since_ns
        if gauge.stored and not was_marked and len(self._wrong) < MOST_WRONG:
            flushes = [at for at in self._flushes if since_ns < at <= until_ns]
            self._wrong += ((gauge.series, since_ns, at) for at in flushes)

    # Flushes and the memory.

    def flush(self, now_ns: int) -> Iterator[tuple[Gauge, int]]:
        """Stored gauges, each with the seconds for which it may have been wrong; -1: right."""
        self._flushes = [*self._flushes[-(_FLUSHES - 1) :], now_ns]
        silence = max(SILENCE_NS, SILENCE_FACTOR * self.gaps.longest)
        is_silent = bool(self.gaps.heard) and now_ns - self.gaps.heard > silence
        newly_silent = is_silent and self._silent_since != self.gaps.heard
        if newly_silent:
            self._silent_since = self.gaps.heard
        for gauge in list(self._gauges.values()):
            if self._is_over(gauge, now_ns):
                self.forget(gauge.series)
            elif gauge.stored and gauge.heard:
                if gauge.role is Role.ENDPOINT_CHANNELS and gauge.heard <= self._unloaded:
                    # Their changes may have been missed while the module was unloaded.
                    self.doubt(gauge, self._unloaded)
                since = gauge.since
                # AMI may know its value while the Asterisk sends no datagrams.
                known = max(self.gaps.heard, gauge.heard)
                if not since and gauge.value and now_ns - known > silence:
                    since = known
                    if newly_silent:
                        self._was_wrong(gauge, since, now_ns - 1)
                yield gauge, max(0, (now_ns - since) // NS_PER_S) if since else -1

    def _is_over(self, gauge: Gauge, now_ns: int) -> bool:
        if now_ns - max(self.gaps.heard, gauge.heard) > SILENT_DAYS * _NS_PER_DAY:
            return True
        may_end = gauge.role in (Role.ENDPOINT_CHANNELS, Role.OTHER)
        may_end = may_end and (gauge.is_set or not gauge.value)
        return may_end and now_ns - gauge.heard > IDLE_DAYS * _NS_PER_DAY

    def wrong(self) -> Iterable[tuple[Series, int, int]]:
        """Gauges found to have been wrong: series, since when, and the time of an earlier flush."""
        wrong, self._wrong = self._wrong, []
        return wrong

    def saved(self) -> Iterator[tuple[Series, str | None]]:
        """Saved states of gauges changed since the last call; None for dropped gauges."""
        changed, self._changed = self._changed, []
        gone, self._gone = self._gone, []
        for series in gone:
            if series not in self._gauges:
                yield series, None
        for gauge in changed:
            gauge.changed = False
            if self._gauges.get(gauge.series) is gauge:
                yield gauge.series, gauge.saved()

    def restore(
        self, saved: Mapping[Series, str], heard_ns: int, *, sure: bool, lost_until_ns: int
    ) -> None:
        """Restore saved gauges; `heard_ns` is the time of the last datagram before.

        `sure` is the attribute's saved value. `lost_until_ns` is the end of the time in which
        datagrams may have been lost; 0: none were.
        """
        self.sure = sure
        for series, text in saved.items():
            self.add(Gauge.restored(series, text))
        self.gaps.heard = heard_ns
        if lost_until_ns:
            self.lost(heard_ns, lost_until_ns)
