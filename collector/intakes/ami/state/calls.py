"""Channels and calls: present numbers, and counts of begun, answered and ended calls. Pure.

A call is the channels that began with one Linkedid. It is answered when its first channel is up or
one of its channels enters a bridge, and ends with its last channel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from collector.asterisk_names import Names
from collector.intakes.ami.message import Message
from collector.intakes.ami.state.causes import Cause, Outcome, cause_of, outcome_of
from collector.intakes.ami.state.tally import IN, OUT, Call, Tally
from collector.intakes.ami.state.times import NS_PER_S, Knowledge, since
from collector.intakes.series import Add
from collector.schema import NONE, OTHER

MOST_CHANNELS: Final = 20_000
"""Most channels in memory; further ones are not counted."""
_MOST_NAMES: Final = 16
"""Most Linkedids of one call; a call is merged a few times at most."""
_UP: Final = "6"
_GONE_AFTER: Final = 2 * NS_PER_S
"""Time after which a channel that is missing from two lists counts as ended unseen."""
_LISTED_FOR: Final = 300 * NS_PER_S
"""Time after which the channels should be listed again, in case an event was forged or lost."""
_ANNOUNCER: Final = 2
"""Number of channels of a conference's announcer, which have no events."""
_LOCAL: Final = "Local/"


@dataclass(slots=True)
class _Channel:
    """A channel; `seen` is the number of the connection that last confirmed it."""

    call: Call
    trunk: str
    seen: int
    is_local: bool
    is_leg: bool = False
    is_up: bool = False
    is_cancelled: bool = False
    missing_ns: int | None = None
    """Time since which Asterisk's lists lack it."""


class Calls:
    """Channels and calls of one Asterisk."""

    def __init__(self, names: Names, drops: Counter[str]) -> None:
        self._names = names
        self._drops = drops
        self._channels: dict[str, _Channel] = {}
        self._calls: dict[str, Call] = {}
        self._connection = 0
        self.knowledge = Knowledge()
        self.is_stale = False
        self._listed_ns: int | None = None
        self._tally = Tally(names.trunks.values())
        # Channels that Asterisk counts but does not list; and the count, until the list arrives.
        self._hidden = 0
        self._reported: int | None = None

    # Events

    def new_channel(self, message: Message, now_ns: int) -> None:
        """Newchannel: a leg is created."""
        name = message.get("Uniqueid")
        if not name:
            self._drops["malformed"] += 1
            return
        channel = self._channels.get(name)
        if channel is None:
            channel = self._add(name, message)
            if channel is None:
                return
            if len(channel.call.channels) == 1 and channel.call.began_ns is None:
                self._tally.began(channel.call, now_ns)
        elif channel.call.began_ns is None and name == channel.call.first:
            # It was listed before its event came.
            self._tally.began(channel.call, now_ns)
        if message.get("ChannelState") == _UP:
            self._up(name, channel, now_ns)

    def new_state(self, message: Message, now_ns: int) -> None:
        """Newstate: a leg rings, or is up."""
        if message.get("ChannelState") != _UP:
            return
        if (found := self._known(message)) is not None:
            self._up(*found, now_ns)

    def dial_begin(self, message: Message, now_ns: int) -> None:
        """DialBegin: a leg is called."""
        name = message.get("DestUniqueid")
        channel = self._channels.get(name)
        if channel is None:
            return
        # The halves of a Local channel are not attempts; the legs that they call are.
        channel.is_leg = not channel.is_local
        call = channel.call
        if channel.trunk != NONE and (name == call.first or call.direction != IN):
            # The first leg of a call that the PBX itself begins (Originate) is a called one.
            call.direction, call.trunk = OUT, channel.trunk

    def dial_end(self, message: Message, now_ns: int) -> None:
        """DialEnd: distinguishes a leg that the caller gave up from one that failed."""
        if message.get("DialStatus") == "CANCEL":
            channel = self._channels.get(message.get("DestUniqueid"))
            if channel is not None:
                channel.is_cancelled = True

    def bridge_enter(self, message: Message, now_ns: int) -> None:
        """BridgeEnter: a leg begins to talk."""
        if (found := self._known(message)) is not None:
            self._tally.answered(found[1].call, now_ns)

    def hangup(self, message: Message, now_ns: int) -> None:
        """Hangup: a leg ends; a call ends with its last leg."""
        found = self._known(message)
        if found is None:
            return
        name, channel = found
        call, cause = channel.call, cause_of(message)
        if channel.is_leg:
            self._end_attempt(channel, cause)
        if name == call.first:
            call.cause = cause
        if not self._remove(name, channel):
            return
        own = call.cause or cause
        if call.is_answered:
            self._tally.ended(call, Outcome.ANSWERED, own, now_ns)
        else:
            outcome = outcome_of(own, is_caller=True)
            self._tally.ended(call, outcome, call.leg_cause or own, now_ns)

    # Answers

    def reported(self, answer: Message) -> None:
        """CoreStatus: the number of all channels, including unlisted ones."""
        self._reported = answer.whole("CoreCurrentCalls")

    def listed(self, items: Sequence[Message], now_ns: int) -> None:
        """CoreShowChannels: the present channels."""
        self.is_stale = False
        known_before = len(self._channels) if self.knowledge.is_whole else None
        listed = {name for item in items if (name := self._list(item, now_ns))}
        for name, channel in list(self._channels.items()):
            if name in listed:
                continue
            if channel.seen < self._connection:
                self._lose(name, channel, now_ns)
            elif channel.missing_ns is None:
                # Its Hangup may be on the way, or its Newchannel newer than the list.
                channel.missing_ns = now_ns
                self.is_stale = True
            elif since(channel.missing_ns, now_ns) > _GONE_AFTER:
                self._lose(name, channel, now_ns)
        if self._reported is not None:
            # Channels come and go between count and list; the smaller difference is more accurate.
            most = max(len(items), known_before or 0)
            self._hidden = max(0, self._reported - most)
            self._reported = None
        self._listed_ns = now_ns
        self.knowledge.complete()

    def lost(self, now_ns: int) -> None:
        """The connection has ended."""
        self._connection += 1
        self._hidden = 0
        self.knowledge.lose(now_ns)

    def asked(self, now_ns: int) -> None:
        """All questions are answered: unlisted channels of an earlier connection have ended."""
        for name, channel in list(self._channels.items()):
            if channel.seen < self._connection:
                self._lose(name, channel, now_ns)
        self.knowledge.asked(now_ns)

    def conference_ended(self) -> None:
        """Subtract the announcer of a conference that ended."""
        self._hidden = max(0, self._hidden - _ANNOUNCER)

    # Points

    @property
    def channels(self) -> int:
        """Number of channels as Asterisk counts them, including those of announcers."""
        return len(self._channels) + self._hidden

    def flush(self, now_ns: int, add: Add) -> None:
        """Add the points of a flush and reset the counts."""
        if self._listed_ns is not None and since(self._listed_ns, now_ns) > _LISTED_FOR:
            self.is_stale = True
        # A merged call is stored under several names.
        calls = {id(call): call for call in self._calls.values()}.values()
        common = self.knowledge.fields(now_ns)
        self._tally.flush(calls, self._hidden, common, now=self.knowledge.is_known, add=add)

    # Parts

    def _known(self, message: Message) -> tuple[str, _Channel] | None:
        """Name and channel of an event; None, and counted as dropped, if it is unknown."""
        name = message.get("Uniqueid")
        channel = self._channels.get(name)
        if channel is None:
            self._drops["unknown-channel"] += 1
            # With too many channels some stay unknown; another list would be long and useless.
            self.is_stale = self.is_stale or len(self._channels) < MOST_CHANNELS
            return None
        channel.seen = self._connection
        linked, names = message.get("Linkedid"), channel.call.names
        if linked and linked not in self._calls and len(names) < _MOST_NAMES:
            # Calls were merged (a transfer): later legs come with the older call's Linkedid.
            names.add(linked)
            self._calls[linked] = channel.call
        return name, channel

    def _add(self, name: str, message: Message) -> _Channel | None:
        """Add a channel, and its call if new; None, and counted as dropped, over the limit."""
        if len(self._channels) >= MOST_CHANNELS:
            self._drops["channels"] += 1
            return None
        linked = message.get("Linkedid") or name
        call = self._calls.get(linked)
        if call is None:
            call = self._calls[linked] = Call(name, None, {linked})
        technology = message.get("Channel")
        trunk = self._names.trunk(technology)
        channel = _Channel(call, trunk, self._connection, technology.startswith(_LOCAL))
        call.channels.add(name)
        self._channels[name] = channel
        if name == call.first and trunk != NONE:
            call.direction, call.trunk = IN, trunk
        return channel

    def _list(self, item: Message, now_ns: int) -> str:
        """Update a channel from the list; return its name, "" if there is no room for it."""
        name = item.get("Uniqueid")
        channel = self._channels.get(name)
        if not name or (channel is None and not (channel := self._find(name, item))):
            return ""
        call = channel.call
        channel.seen, channel.missing_ns = self._connection, None
        channel.is_up = channel.is_up or item.get("ChannelState") == _UP
        if item.get("BridgeId") or (channel.is_up and name == call.first):
            # An answer that only the list shows was not seen, and is not counted.
            call.is_answered = True
        return name

    def _find(self, name: str, message: Message) -> _Channel | None:
        """Add a listed channel that was unknown because it began unseen."""
        channel = self._add(name, message)
        if channel is None:
            return None
        call, is_first = channel.call, name == message.get("Linkedid")
        if is_first:
            call.first = name
        channel.is_leg = not is_first and not channel.is_local
        if channel.trunk != NONE and (is_first or call.direction != IN):
            call.direction, call.trunk = (IN if is_first else OUT), channel.trunk
        return channel

    def _up(self, name: str, channel: _Channel, now_ns: int) -> None:
        channel.is_up = True
        if name == channel.call.first:
            self._tally.answered(channel.call, now_ns)

    def _end_attempt(self, channel: _Channel, cause: Cause) -> None:
        outcome = outcome_of(cause, is_caller=False)
        if channel.is_up:
            outcome = Outcome.ANSWERED
        elif channel.is_cancelled:
            outcome = Outcome.CANCELLED
        elif cause.tells:
            channel.call.leg_cause = cause
        self._tally.attempted(channel.call, channel.trunk, outcome, cause)

    def _remove(self, name: str, channel: _Channel) -> bool:
        """Remove a channel; return whether it was the last of its call, which is removed too."""
        call = channel.call
        del self._channels[name]
        call.channels.discard(name)
        if call.channels:
            return False
        for one in call.names:
            if self._calls.get(one) is call:
                del self._calls[one]
        return True

    def _lose(self, name: str, channel: _Channel, now_ns: int) -> None:
        """Remove a channel whose end was not seen."""
        if self._remove(name, channel):
            self._tally.ended(channel.call, Outcome.LOST, Cause(OTHER), now_ns)
