"""Pauses in an Asterisk's datagrams, which show when it was down. Pure.

Modules load in no fixed order: a start may send datagrams before the zeros by which it is
recognised. The longest pause before those zeros separates the old process from the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from collector.intakes.statsd.gauge import Gauge

NS_PER_S: Final = 10**9
PAUSE_NS: Final = 5_000_000
"""Shortest pause that is recorded, in ns."""
START_TAKES_NS: Final = 60 * NS_PER_S
"""Longest time from the first datagram of a start to its first zero."""
SET_GROWS_NS: Final = 5 * NS_PER_S
"""Longest time between two endpoints that one start adds."""
DOWN_ENDED_NS: Final = 15 * NS_PER_S
"""Longest time from the end of the pause in which an Asterisk was down to its first zero."""
_MOST_SPELLS: Final = 24


@dataclass(slots=True)
class _Spell:
    """Datagrams without a pause between: the pause before, the start, and changes of endpoints."""

    pause: int
    start: int
    changes: dict[Gauge, float] = field(default_factory=dict)


class Gaps:
    """Pauses of one Asterisk, and the endpoints that were added between them."""

    def __init__(self) -> None:
        self.heard = 0
        """Time of the newest datagram in ns; 0: there is none."""
        self.longest = 0
        """Longest pause in ns in which the Asterisk was not down."""
        self._longest_before = 0
        # Since the last start, or the last change of endpoints that no start makes.
        self._spells: list[_Spell] = [_Spell(0, 0)]
        # Since the last start: whether its endpoints were added, whether that was after its first
        # zero, the time of the last one, and whether more may follow.
        self._set_came = True
        self._zeros_first = False
        self._set_until = 0
        self._set_grows = False

    def pause(self, now_ns: int) -> None:
        """Record that a datagram arrived after a pause of at least `PAUSE_NS`."""
        if not self.heard:
            # The length of the pause before the first datagram is unknown.
            self._spells = [_Spell(now_ns, now_ns)]
            return
        pause = now_ns - self.heard
        if pause > self.longest:
            self._longest_before = self.longest
            self.longest = pause
        spells = self._spells
        spells.append(_Spell(pause, now_ns))
        if len(spells) > _MOST_SPELLS:
            shortest = min(range(1, len(spells)), key=lambda at: spells[at].pause)
            merged = spells.pop(shortest)
            _add(spells[shortest - 1].changes, merged.changes)

    def endpoint_change(self, gauge: Gauge, delta: float, now_ns: int, *, is_total: bool) -> None:
        """Record a change of a gauge of endpoints; `is_total`: it is the count of all."""
        spell = self._spells[-1]
        if delta < 0:
            # A start never removes endpoints.
            self._spells = [_Spell(0, now_ns)]
            self._set_grows = False
            if is_total:
                self._set_came = False
        elif is_total or any(one.changes for one in self._spells):
            # A change of state alone is one of an existing endpoint.
            _add(spell.changes, {gauge: delta})
            if is_total and not self._set_came:
                self._set_came = self._zeros_first = self._set_grows = True
                self._set_until = now_ns
            elif self._set_grows and now_ns - self._set_until <= SET_GROWS_NS:
                self._set_until = now_ns

    def down_since(self, now_ns: int) -> int:
        """Start in ns of the pause in which the Asterisk was down before a start; 0 if unknown."""
        down = [spell for spell in self._spells[1:] if now_ns - spell.start <= DOWN_ENDED_NS]
        if not down:
            return 0
        longest = max(down, key=lambda spell: spell.pause)
        if longest.pause == self.longest:
            self.longest = self._longest_before
        return longest.start - longest.pause

    def started(self, now_ns: int) -> tuple[dict[Gauge, float], bool]:
        """Record the first zero of a start; return the endpoints that the start added before it.

        Also returns whether they are certain: all were added without a pause, or none were.
        """
        spells = self._spells
        candidates = [
            at
            for at in range(len(spells))
            if spells[at].pause
            and now_ns - spells[at].start <= START_TAKES_NS
            and spells[at].start > self._set_until
        ]
        if candidates:
            first = max(candidates, key=lambda at: spells[at].pause)
        else:
            first = len(spells) if self._zeros_first else 0
        added: dict[Gauge, float] = {}
        kept = [spell.changes for spell in spells[first:] if spell.changes]
        for changes in kept:
            _add(added, changes)
        is_clear = len(kept) == 1 or not any(spell.changes for spell in spells)
        self._spells = [_Spell(0, now_ns)]
        self._set_came = bool(added)
        self._set_until = 0
        self._zeros_first = self._set_grows = False
        return added, is_clear


def _add(changes: dict[Gauge, float], more: Mapping[Gauge, float]) -> None:
    for gauge, delta in more.items():
        changes[gauge] = changes.get(gauge, 0.0) + delta
