"""The dialplan's own metrics: `UserEvent(Metric,Name: NAME,Value: NUMBER,Type: TYPE)`. Pure.

TYPE is `counter` (the default; the values of a flush are added), `gauge` (the last value counts)
or `timer` (percentiles). Since names are stored, a name is refused if it holds a telephone number,
or a number or name of its own call.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from collector.intakes.ami.message import Message
from collector.intakes.ami.state.spread import Spread
from collector.intakes.ami.state.times import NS_PER_S, since
from collector.intakes.ami.state.wanted import PERSONAL
from collector.intakes.series import Add
from collector.lines import label
from collector.schema.ami import USER_EVENTS

MOST_NAMES: Final = 200
"""Most names in memory."""
_HELD_FOR: Final = 24 * 3600 * NS_PER_S
"""Time after its last event after which a name may be replaced by another."""
_METRIC: Final = "Metric"
_COUNTER: Final = "counter"
_GAUGE: Final = "gauge"
_TIMER: Final = "timer"
_TYPES: Final = (_COUNTER, _GAUGE, _TIMER)

_NUMBER: Final = re.compile(r"\d(?:[ ()/.-]?\d){4}")
"""Five digits or more in a row, with the usual marks between: a telephone number, or an address."""
_WORDS: Final = re.compile(r"[^\W_]+")
_NOBODY: Final = frozenset({"", "<unknown>", "unknown"})
_LONG: Final = 4
"""Shortest personal value that is searched for inside words too."""


@dataclass(slots=True)
class _Metric:
    count: int = 0
    sum: float | None = None
    value: float | None = None
    timer: Spread = field(default_factory=Spread)


class UserEvents:
    """The dialplan's metrics of one Asterisk."""

    def __init__(self, drops: Counter[str]) -> None:
        self._drops = drops
        # Time of the last event of each name.
        self._names: dict[str, int] = {}
        self._metrics: dict[str, _Metric] = {}

    def take(self, message: Message, now_ns: int) -> None:
        """UserEvent: adds the value of a `Metric`; other user events are ignored."""
        if message.get("UserEvent") != _METRIC:
            return
        kind = message.get("Type").lower() or _COUNTER
        value = message.finite("Value")
        if not message.get("Name") or value is None or kind not in _TYPES:
            self._drops["user-event-malformed"] += 1
            return
        if _is_personal(message):
            self._drops["user-event-personal"] += 1
            return
        name = label(message.get("Name"))
        if not self._admit(name, now_ns):
            self._drops["user-event-names"] += 1
            return
        metric = self._metrics.setdefault(name, _Metric())
        total = (metric.sum or 0.0) + value
        if kind == _COUNTER and not math.isfinite(total):
            self._drops["user-event-malformed"] += 1
            return
        metric.count += 1
        if kind == _COUNTER:
            metric.sum = total
        elif kind == _GAUGE:
            metric.value = value
        else:
            metric.timer.add(value)

    def _admit(self, name: str, now_ns: int) -> bool:
        """Whether there is room for a name."""
        if name not in self._names and len(self._names) >= MOST_NAMES:
            oldest = min(self._names, key=lambda one: self._names[one])
            if since(self._names[oldest], now_ns) < _HELD_FOR:
                return False
            del self._names[oldest]
        self._names[name] = now_ns
        return True

    def flush(self, add: Add) -> None:
        """Add the points of a flush and reset the counts."""
        for name, metric in sorted(self._metrics.items()):
            fields: dict[str, int | float] = {"count": metric.count}
            if metric.sum is not None:
                fields["sum"] = metric.sum
            if metric.value is not None:
                fields["value"] = metric.value
            add(USER_EVENTS.name, {"name": name}, {**fields, **metric.timer.fields("timer")})
        self._metrics.clear()


def _is_personal(message: Message) -> bool:
    """Whether a metric's name holds a number, or a number or name of its own call."""
    name = message.get("Name").casefold()
    if _NUMBER.search(name):
        return True
    words = set(_WORDS.findall(name))
    # The name of a channel is TECH/ENDPOINT-NUMBER; the endpoint may be a person.
    endpoint = message.get("Channel").partition("/")[2].rpartition("-")[0]
    for value in (*(message.get(one) for one in PERSONAL), endpoint):
        value = value.casefold()  # noqa: PLW2901 - compared in one form
        if value in _NOBODY:
            continue
        parts = set(_WORDS.findall(value))
        if parts & words or (len(value) >= _LONG and value in name):
            return True
    return False
