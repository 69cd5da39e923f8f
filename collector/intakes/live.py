"""Parts common to the senders of live values: flushes on a grid of times, and true gauge values.

StatsD and AMI store one point for each series and flush in the live database. All points of a flush
have the same time, a multiple of the interval plus the instance's number in ns: a replay overwrites
them, and those of two collectors never collide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from collector.intakes.series import Series
from collector.lines import Point, line, tag_set
from collector.outbox import Entry
from collector.schema import LIVE

NS_PER_S: Final = 10**9
_ENTRY_LINES: Final = 1000
"""Most lines of an outbox entry. Delivery sends complete entries, about 5000 lines a batch."""


def grid(now_ns: int, interval_s: int) -> int:
    """The newest multiple of the interval that is not after `now_ns`, in ns since 1970."""
    return now_ns - now_ns % (interval_s * NS_PER_S)


def until_next(now_ns: int, interval_s: int) -> float:
    """Seconds from `now_ns` to the next multiple of the interval."""
    return interval_s - (now_ns - grid(now_ns, interval_s)) / NS_PER_S


def entries(
    points: Sequence[Point], *, sender: str, received_ns: int, instance: int
) -> Iterator[Entry]:
    """Outbox entries that hold the points of one flush, without owner.

    A point's time is that of its flush, a multiple of the interval; `instance` (0..999) is added.
    """
    for start in range(0, len(points), _ENTRY_LINES):
        lines = [
            line(point.measurement, tag_set(point.tags), point.fields, point.time + instance)
            for point in points[start : start + _ENTRY_LINES]
        ]
        text = "\n".join(lines).encode()
        yield Entry(received_ns, None, len(lines), text, target=LIVE, sender=sender)


Listener = Callable[[str, Mapping[Series, float]], None]


class TrueState:
    """Passes true values of gauges from AMI, which queries them, to StatsD, which counts changes.

    All listeners are called at once, in the process and thread of the caller.
    """

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each Asterisk's name and true values; return the unsubscriber."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def truth(self, asterisk: str, values: Mapping[Series, float]) -> None:
        """Pass the present values of an Asterisk's gauges to all listeners."""
        for listener in self._listeners:
            listener(asterisk, values)
