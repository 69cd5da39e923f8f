"""The state of one Asterisk, from events and answers to points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from collector.intakes.ami.message import Message
from collector.intakes.ami.state.names import Names
from collector.intakes.ami.state.wanted import EVENTS, PRIVILEGE
from collector.lines import Point
from collector.schema.ami import AMI_TRAFFIC

_NS = 10**9


class State:
    """What is known of one Asterisk, from the messages of its manager interface.

    All times are in ns since 1970 and must not fall. `asterisk` is its name in the points;
    `has_statsd` says that it sends StatsD too, so that gauges which AMI does not know for certain
    are left to StatsD. `drops` counts what was left out since it was last cleared, by reason.
    """

    def __init__(
        self, asterisk: str, names: Names | None = None, *, has_statsd: bool = False
    ) -> None:
        self._asterisk = asterisk
        self._names = names or Names()
        self._has_statsd = has_statsd
        self.drops: Counter[str] = Counter()
        self._events = 0
        self._restarts = 0
        self._connected = False
        self._blind_since: int | None = None

    @property
    def stale(self) -> bool:
        """Whether the questions about the present state should be asked again soon.

        Something has changed of which the events do not tell the rest: a reload, a conference's
        announcer, a channel that was not known.
        """
        return False

    def take(self, message: Message, now_ns: int) -> None:
        """Take an event. Never raises, whatever its headers are."""
        kind = EVENTS.get(message.event)
        if kind is None or kind.privilege not in message.headers.get(PRIVILEGE, "").split(","):
            self.drops["forged"] += 1
            return
        self._events += 1

    def answer(self, action: str, answer: Message, items: Sequence[Message], now_ns: int) -> None:
        """Take a whole answer to a question about the present state: it replaces what was known.

        Questions that Asterisk refuses are not passed on.
        """

    def asked(self, now_ns: int) -> None:
        """All questions that can be answered are answered: from now on counts are whole."""
        self._connected = True
        self._blind_since = None

    def lost(self, now_ns: int) -> None:
        """The connection has ended: what happens until the next `asked` is not counted."""
        self._connected = False

    def truth(self) -> Mapping[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Values of the gauges that StatsD has too, by measurement and tags, as last asked for.

        Only those that are certain. The tags are pairs without `asterisk`, sorted by name.
        """
        return {}

    def flush(self, now_ns: int) -> list[Point]:
        """Points of the flush that ends at `now_ns`, their time; counts begin anew."""
        events, self._events = self._events, 0
        restarts, self._restarts = self._restarts, 0
        return [
            Point(
                AMI_TRAFFIC.name,
                {"asterisk": self._asterisk},
                {
                    "connected": int(self._connected),
                    "events": events,
                    "dropped": self.drops.total(),
                    "gap": 0.0,
                    "restarts": restarts,
                },
                now_ns,
            )
        ]
