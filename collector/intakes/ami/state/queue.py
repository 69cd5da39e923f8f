"""One queue: its callers, and its counts of one flush. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from collector.intakes.ami.message import Message
from collector.intakes.ami.state.spread import Spread
from collector.intakes.ami.state.times import NS_PER_S, since

_MOST_WAITING: Final = 10**6
_COUNTS: Final = (
    *("entered", "answered", "abandoned", "timed_out", "left_by_key", "lost"),
    *("completed", "unanswered"),
)
_WITHIN: Final = ("within", "abandoned_within")
"""Counts that are known once the service level is."""


@dataclass(slots=True)
class Caller:
    """A caller who waits, has left, or talks with an agent; `seen` is the connection's number."""

    joined_ns: int
    seen: int
    left_ns: int | None = None
    answered_ns: int | None = None
    has_given_up: bool = False
    key_ns: int | None = None
    """Time of the last key press, in ns since 1970."""
    ended_ns: int | None = None
    """Time at which the channel ended, in ns since 1970."""
    is_missing: bool = False
    """Whether Asterisk's last list lacked it."""


@dataclass(slots=True)
class Queue:
    """A queue; `waiting` is as Asterisk counted it last, `callers` are by Uniqueid.

    Its points are written once Asterisk's list confirms it: an event alone may be forged, with any
    name.
    """

    name: str
    is_confirmed: bool
    waiting: int = 0
    service_level: int | None = None
    callers: dict[str, Caller] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    wait: Spread = field(default_factory=Spread)
    gave_up: Spread = field(default_factory=Spread)
    talk: Spread = field(default_factory=Spread)

    def inside(self) -> list[Caller]:
        """Callers who wait now."""
        return [one for one in self.callers.values() if one.left_ns is None]

    def count_waiting(self, message: Message, change: int) -> None:
        """Set the number of waiting callers from an event; add `change` if the event lacks it."""
        counted = message.whole("Count")
        if counted is None or counted > _MOST_WAITING:
            counted = max(0, self.waiting + change)
        self.waiting = counted

    def is_within(self, message: Message) -> bool:
        """Whether a caller waited no longer than the service level, as Asterisk counts it.

        Uses Asterisk's own whole seconds, so that the share equals that of `queue show`.
        """
        held, level = message.whole("HoldTime"), self.service_level
        return held is not None and level is not None and held <= level

    def take_counts(self) -> dict[str, int | float]:
        """Fields of the counts since the last call; resets the counts."""
        fields: dict[str, int | float] = {name: self.counts[name] for name in _COUNTS}
        if self.service_level is not None:
            fields["service_level"] = self.service_level
            fields |= {name: self.counts[name] for name in _WITHIN}
        fields |= self.wait.fields("wait")
        fields |= self.gave_up.fields("gave_up")
        fields["talk_sum"] = self.talk.sum
        fields |= self.talk.fields("talk")
        self.counts.clear()
        self.wait, self.gave_up, self.talk = Spread(), Spread(), Spread()
        return fields

    def gauges(self, now_ns: int) -> dict[str, int | float]:
        """Fields of the present values."""
        longest = max((since(one.joined_ns, now_ns) for one in self.inside()), default=0)
        return {"waiting": self.waiting, "longest_wait": longest / NS_PER_S}
