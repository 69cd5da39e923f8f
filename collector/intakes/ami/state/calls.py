"""Channels and calls: how many there are, how they began, were answered and ended. Pure.

A call is the channels that began with one Linkedid. It is answered when its first channel is up or
one of its channels enters a bridge, and ends with its last channel.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from collector.intakes.ami.message import Message
from collector.intakes.ami.state.causes import Cause, Outcome, cause_of, outcome_of
from collector.intakes.ami.state.names import Names
from collector.intakes.ami.state.parse import whole
from collector.intakes.ami.state.spread import Spread
from collector.intakes.ami.state.times import NS_PER_S, Knowledge, since
from collector.schema import NONE, OTHER, UNKNOWN
from collector.schema.ami import CALLS

MOST_CHANNELS: Final = 20_000
"""Most channels held; those beyond are not counted."""
_MOST_CAUSES: Final = 200
"""Most series of outcome and cause in a flush; those beyond have the cause `other`."""
_UP: Final = "6"
_MOST_BEGAN: Final = 50_000
"""Most calls of a flush whose trunk may still become known; those beyond are counted at once."""
_GONE_AFTER: Final = 2 * NS_PER_S
"""Time after which a channel that Asterisk again does not list is gone without a Hangup."""
_LISTED_FOR: Final = 300 * NS_PER_S
"""Time after which the channels should be listed again, in case an event was forged or lost."""
_ANNOUNCER: Final = 2
"""Channels of a conference's announcer, which AMI does not tell of."""
_LOCAL: Final = "Local/"

IN: Final = "in"
OUT: Final = "out"
INTERNAL: Final = "internal"

Route = tuple[str, str]
"""Direction and trunk of a call."""
Add = Callable[[str, Mapping[str, str], Mapping[str, int | float | str]], None]
"""Adds a point: measurement, tags without `asterisk`, fields."""


@dataclass(slots=True)
class _Call:
    """A call. `began_ns` is None where it began before the connection; so with `answered_ns`."""

    first: str
    began_ns: int | None
    names: set[str]
    channels: set[str] = field(default_factory=set)
    is_answered: bool = False
    answered_ns: int | None = None
    cause: Cause | None = None
    leg_cause: Cause | None = None
    direction: str = INTERNAL
    trunk: str = NONE


@dataclass(slots=True)
class _Channel:
    call: _Call
    trunk: str
    seen: int
    """Number of the connection in which it was last known to be there."""
    is_local: bool
    is_leg: bool = False
    is_up: bool = False
    is_cancelled: bool = False
    missing_ns: int | None = None
    """Since when Asterisk does not list it any more."""


@dataclass(slots=True)
class _Counts:
    """What is counted of the calls of one route in a flush."""

    answered: int = 0
    ring: Spread = field(default_factory=Spread)
    talk: Spread = field(default_factory=Spread)


class Calls:
    """Channels and calls of one Asterisk."""

    def __init__(self, names: Names, drops: Counter[str], rooms: Callable[[], int]) -> None:
        self._names = names
        self._drops = drops
        self._rooms = rooms
        self._channels: dict[str, _Channel] = {}
        self._calls: dict[str, _Call] = {}
        self._connection = 0
        self.knowledge = Knowledge()
        self.is_stale = False
        self._listed_ns: int | None = None
        self._began: list[_Call] = []
        self._began_before: Counter[Route] = Counter()
        self._counts: dict[Route, _Counts] = defaultdict(_Counts)
        self._ended: Counter[tuple[Route, str, Cause]] = Counter()
        self._attempts: Counter[tuple[Route, str, Cause]] = Counter()
        self._reported: int | None = None
        self._announcers = 0

    # Events

    def new_channel(self, message: Message, now_ns: int) -> None:
        """Newchannel: a leg is created."""
        headers = message.headers
        name = headers.get("Uniqueid", "")
        if not name:
            self._drops["malformed"] += 1
            return
        channel = self._channels.get(name)
        if channel is None:
            channel = self._add(name, headers, now_ns)
            if channel is None:
                return
        elif channel.call.began_ns is None and name == channel.call.first:
            # It was listed before its event came.
            self._begin(channel.call, now_ns)
        if headers.get("ChannelState") == _UP:
            self._up(name, channel, now_ns)

    def new_state(self, message: Message, now_ns: int) -> None:
        """Newstate: a leg rings, or is up."""
        if message.headers.get("ChannelState") != _UP:
            return
        if (found := self._known(message.headers)) is not None:
            self._up(*found, now_ns)

    def dial_begin(self, message: Message, now_ns: int) -> None:
        """DialBegin: a leg is called."""
        name = message.headers.get("DestUniqueid", "")
        channel = self._channels.get(name)
        if channel is None:
            return
        # The halves of a Local channel are no attempts: what they call is.
        channel.is_leg = not channel.is_local
        call = channel.call
        if channel.trunk == NONE:
            return
        if name == call.first or call.direction != IN:
            # A call that the PBX itself begins (Originate) has the called leg as its first.
            call.direction, call.trunk = OUT, channel.trunk

    def dial_end(self, message: Message, now_ns: int) -> None:
        """DialEnd: tells apart a leg that the caller gave up from one that failed."""
        if message.headers.get("DialStatus") == "CANCEL":
            channel = self._channels.get(message.headers.get("DestUniqueid", ""))
            if channel is not None:
                channel.is_cancelled = True

    def bridge_enter(self, message: Message, now_ns: int) -> None:
        """BridgeEnter: a leg begins to talk."""
        if (found := self._known(message.headers)) is not None:
            self._answer(found[1].call, now_ns)

    def hangup(self, message: Message, now_ns: int) -> None:
        """Hangup: a leg ends."""
        found = self._known(message.headers)
        if found is None:
            return
        name, channel = found
        cause = cause_of(message.headers)
        call = channel.call
        if channel.is_leg:
            self._end_attempt(channel, cause)
        if name == call.first:
            call.cause = cause
        self._remove(name, channel, cause, now_ns)

    # Answers

    def reported(self, answer: Message) -> None:
        """CoreStatus: the number of channels, those of announcers included."""
        self._reported = whole(answer.headers, "CoreCurrentCalls")

    def listed(self, items: Sequence[Message], now_ns: int) -> None:
        """CoreShowChannels: the channels that are there."""
        self.is_stale = False
        listed: set[str] = set()
        for item in items:
            name = item.headers.get("Uniqueid", "")
            channel = self._channels.get(name)
            if not name or (channel is None and not (channel := self._find(item, now_ns))):
                continue
            listed.add(name)
            channel.seen, channel.missing_ns = self._connection, None
            channel.is_up = channel.is_up or item.headers.get("ChannelState") == _UP
            if item.headers.get("BridgeId") or (channel.is_up and name == channel.call.first):
                # If that is news, it was answered unseen, and is counted nowhere.
                channel.call.is_answered = True
        for name, channel in list(self._channels.items()):
            if name in listed:
                continue
            if channel.seen < self._connection:
                self._lose(name, channel, now_ns)
            elif channel.missing_ns is None:
                # Its Hangup may be on the way, or the list older than its Newchannel.
                channel.missing_ns = now_ns
                self.is_stale = True
            elif since(channel.missing_ns, now_ns) > _GONE_AFTER:
                self._lose(name, channel, now_ns)
        if self._reported is not None:
            others = max(0, self._reported - len(items))
            self._announcers = others - others % _ANNOUNCER
            self._reported = None
        self._listed_ns = now_ns
        self.knowledge.complete()

    def lost(self, now_ns: int) -> None:
        """The connection has ended."""
        self._connection += 1
        self.knowledge.lose(now_ns)

    def asked(self, now_ns: int) -> None:
        """All questions are answered: what is of an earlier connection and not listed is gone."""
        for name, channel in list(self._channels.items()):
            if channel.seen < self._connection:
                self._lose(name, channel, now_ns)
        self.knowledge.asked(now_ns)

    # Points

    @property
    def channels(self) -> int:
        """Channels now, those of announcers included, as Asterisk counts them."""
        return len(self._channels) + self._announcing()

    def _announcing(self) -> int:
        """Channels of announcers: none without a conference, whatever a busy moment suggested."""
        return min(self._announcers, _ANNOUNCER * self._rooms())

    def flush(self, now_ns: int, add: Add) -> None:
        """Add the points of a flush; counts begin anew."""
        if self._listed_ns is not None and since(self._listed_ns, now_ns) > _LISTED_FOR:
            self.is_stale = True
        calls: Counter[Route] = Counter()
        channels: Counter[Route] = Counter()
        # A merged call has several names.
        for call in {id(call): call for call in self._calls.values()}.values():
            calls[self._route(call)] += 1
            channels[self._route(call)] += len(call.channels)
        internal = self._base()
        channels[internal] += self._announcing()
        started = self._began_before + Counter(self._route(call) for call in self._began)
        self._began.clear()
        self._began_before.clear()
        counts, self._counts = self._counts, defaultdict(_Counts)
        always = {internal, *((way, t) for t in self._names.trunks.values() for way in (IN, OUT))}
        for route in sorted({*always, *calls, *started, *counts}):
            counted = counts.get(route) or _Counts()
            fields: dict[str, int | float] = {
                **self.knowledge.fields(now_ns),
                "started": started[route],
                "answered": counted.answered,
                **counted.ring.fields("ring"),
                "talks": counted.talk.count,
                "talk_sum": counted.talk.sum,
                **counted.talk.fields("talk"),
            }
            if self.knowledge.is_known:
                fields |= {"calls": calls[route], "channels": channels[route]}
            add(CALLS.name, _tags(route), fields)
        self._flush_causes(add)

    def _flush_causes(self, add: Add) -> None:
        ended, self._ended = self._ended, Counter()
        attempts, self._attempts = self._attempts, Counter()
        for key in sorted({*ended, *attempts}):
            route, outcome, cause = key
            fields = {
                name: counter[key]
                for name, counter in (("ended", ended), ("attempts", attempts))
                if counter[key]
            }
            tags = {"outcome": outcome, "cause": cause.cause, "tech_cause": cause.tech_cause}
            add(CALLS.name, {**_tags(route), **tags}, fields)

    # Parts

    def _known(self, headers: Mapping[str, str]) -> tuple[str, _Channel] | None:
        """The channel of an event, by name; None, counted, if it is not known."""
        name = headers.get("Uniqueid", "")
        channel = self._channels.get(name)
        if channel is None:
            self._drops["unknown-channel"] += 1
            # With too many channels some are unknown, and another list would be long and no help.
            self.is_stale = self.is_stale or len(self._channels) < MOST_CHANNELS
            return None
        channel.seen = self._connection
        linked = headers.get("Linkedid", "")
        if linked and linked not in channel.call.names and linked not in self._calls:
            # Calls were merged (a transfer): later legs come with the older call's Linkedid.
            channel.call.names.add(linked)
            self._calls[linked] = channel.call
        return name, channel

    def _add(
        self, name: str, headers: Mapping[str, str], now_ns: int, *, is_listed: bool = False
    ) -> _Channel | None:
        """Add a channel, and its call if it is the first; None, counted, if there are too many.

        The call of a channel that is `listed` began unseen.
        """
        if len(self._channels) >= MOST_CHANNELS:
            self._drops["channels"] += 1
            return None
        linked = headers.get("Linkedid") or name
        call = self._calls.get(linked)
        if call is None:
            call = _Call(name, None, {linked})
            self._calls[linked] = call
            if not is_listed:
                self._begin(call, now_ns)
        technology = headers.get("Channel", "")
        trunk = self._names.trunk(technology)
        channel = _Channel(call, trunk, self._connection, technology.startswith(_LOCAL))
        call.channels.add(name)
        self._channels[name] = channel
        if name == call.first and trunk != NONE:
            call.direction, call.trunk = IN, trunk
        return channel

    def _begin(self, call: _Call, now_ns: int) -> None:
        call.began_ns = now_ns
        if len(self._began) < _MOST_BEGAN:
            self._began.append(call)
        else:
            self._began_before[self._base()] += 1

    def _find(self, item: Message, now_ns: int) -> _Channel | None:
        """Add a channel that is listed and was not known: its call began unseen."""
        headers = item.headers
        name, linked = headers.get("Uniqueid", ""), headers.get("Linkedid", "")
        channel = self._add(name, headers, now_ns, is_listed=True)
        if channel is None:
            return None
        call = channel.call
        if name == linked:
            call.first = name
        channel.is_leg = name != linked and not channel.is_local
        if channel.trunk != NONE and (name == linked or call.direction != IN):
            call.direction, call.trunk = (IN if name == linked else OUT), channel.trunk
        return channel

    def _up(self, name: str, channel: _Channel, now_ns: int) -> None:
        channel.is_up = True
        if name == channel.call.first:
            self._answer(channel.call, now_ns)

    def _answer(self, call: _Call, now_ns: int) -> None:
        if call.is_answered:
            return
        call.is_answered = True
        call.answered_ns = now_ns
        counts = self._counts[self._route(call)]
        counts.answered += 1
        if call.began_ns is not None:
            counts.ring.add(since(call.began_ns, now_ns) / NS_PER_S)

    def _end_attempt(self, channel: _Channel, cause: Cause) -> None:
        call = channel.call
        route = self._route(call)
        if channel.trunk != NONE:
            # A call that fails over to a second trunk has an attempt on each.
            route = (OUT, channel.trunk)
        if channel.is_up:
            outcome = Outcome.ANSWERED
        elif channel.is_cancelled:
            outcome = Outcome.CANCELLED
        else:
            outcome = outcome_of(cause)
        self._count(self._attempts, route, outcome, cause)
        if not channel.is_up and not channel.is_cancelled and cause.tells:
            call.leg_cause = cause

    def _remove(self, name: str, channel: _Channel, cause: Cause, now_ns: int) -> None:
        call = channel.call
        del self._channels[name]
        call.channels.discard(name)
        if call.channels:
            return
        self._forget(call)
        route, cause = self._route(call), call.cause or cause
        if not call.is_answered:
            self._count(self._ended, route, outcome_of(cause), call.leg_cause or cause)
            return
        self._count(self._ended, route, Outcome.ANSWERED, cause)
        if call.answered_ns is not None:
            self._counts[route].talk.add(since(call.answered_ns, now_ns) / NS_PER_S)

    def _lose(self, name: str, channel: _Channel, now_ns: int) -> None:
        """Remove a channel whose end was not seen."""
        call = channel.call
        del self._channels[name]
        call.channels.discard(name)
        if not call.channels:
            self._forget(call)
            self._count(self._ended, self._route(call), Outcome.LOST, Cause(OTHER))

    def _forget(self, call: _Call) -> None:
        for name in call.names:
            if self._calls.get(name) is call:
                del self._calls[name]

    def _count(
        self,
        counter: Counter[tuple[Route, str, Cause]],
        route: Route,
        outcome: Outcome,
        cause: Cause,
    ) -> None:
        key = (route, outcome.value, cause)
        if key not in counter and len(counter) >= _MOST_CAUSES:
            key = (route, outcome.value, Cause(OTHER))
        counter[key] += 1

    def _base(self) -> Route:
        return (INTERNAL if self._names.trunks else UNKNOWN, NONE)

    def _route(self, call: _Call) -> Route:
        return (call.direction, call.trunk) if call.trunk != NONE else self._base()


def _tags(route: Route) -> dict[str, str]:
    direction, trunk = route
    return {"direction": direction, "trunk": trunk}
