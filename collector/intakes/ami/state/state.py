"""The state of one Asterisk: converts events and answers to points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from collector.asterisk_names import Names
from collector.intakes.ami.actions import STATE
from collector.intakes.ami.message import Message
from collector.intakes.ami.state.calls import Calls
from collector.intakes.ami.state.conferences import Conferences
from collector.intakes.ami.state.counts import Keys, Security
from collector.intakes.ami.state.devices import Devices
from collector.intakes.ami.state.quality import Quality
from collector.intakes.ami.state.queues import Queues
from collector.intakes.ami.state.times import NS_PER_S, since
from collector.intakes.ami.state.user_events import UserEvents
from collector.intakes.ami.state.wanted import EVENTS, PRIVILEGE, SECURITY_KINDS
from collector.intakes.series import Series
from collector.lines import Point
from collector.schema.ami import AMI_TRAFFIC
from collector.schema.live import ASTERISK, CHANNELS

_OF_CHANNELS: Final = frozenset({"CoreStatus", "CoreShowChannels"})
_OF_QUEUES: Final = frozenset({"QueueStatus"})
_ANNOUNCER: Final = "CBAnn/"
"""Prefix of the name of a conference announcer's device."""

_Handler = Callable[[Message, int], None]


class State:
    """State of one Asterisk, as known from the messages of its manager interface.

    All times are in ns since 1970. `asterisk` is its name in the points. With `has_statsd` it sends
    StatsD too, and gauges that AMI does not know for certain are left to StatsD. `drops` counts
    what was left out, by reason; the caller clears it after each flush.
    """

    def __init__(
        self, asterisk: str, names: Names | None = None, *, has_statsd: bool = False
    ) -> None:
        self._asterisk = asterisk
        self.drops: Counter[str] = Counter()
        given = names or Names()
        self._conferences = Conferences(given, self.drops)
        self._calls = Calls(given, self.drops)
        self._queues = Queues(given, self.drops)
        self._devices = Devices(self.drops, given, has_statsd=has_statsd)
        self._quality = Quality(given)
        self._user_events = UserEvents(self.drops)
        self._security = Security()
        self._keys = Keys()
        self._stale: set[str] = set()
        # Stale questions that were not answered in the last round: Asterisk may refuse them.
        self._unanswered: set[str] = set()
        self._events = 0
        self._restarts = 0
        self._connected = False
        self._lost_ns: int | None = None
        self._flushed_ns: int | None = None
        self._gap_ns = 0
        calls, rooms, devices = self._calls, self._conferences, self._devices
        self._handlers: Final[Mapping[str, _Handler]] = {
            "Newchannel": calls.new_channel,
            "Newstate": calls.new_state,
            "DialBegin": calls.dial_begin,
            "DialEnd": calls.dial_end,
            "BridgeEnter": calls.bridge_enter,
            "Hangup": self._hangup,
            **dict.fromkeys(self._queues.handlers, self._queues.take),
            "ConfbridgeStart": self._conference,
            "ConfbridgeEnd": self._conference,
            "ConfbridgeJoin": rooms.join,
            "ConfbridgeLeave": rooms.leave,
            "DeviceStateChange": self._device,
            "ContactStatus": devices.contact,
            "PeerStatus": devices.peer,
            "Registry": devices.registry,
            "FullyBooted": self._booted,
            "Reload": self._reload,
            "RTCPSent": self._quality.received,
            "RTCPReceived": self._quality.sent,
            "DTMFEnd": self._key,
            "UserEvent": self._user_events.take,
            **dict.fromkeys(SECURITY_KINDS, self._security.take),
        }
        """The handler of each event, by name."""
        self._answers: Final[Mapping[str, Callable[[Sequence[Message], int], None]]] = {
            "CoreShowChannels": calls.listed,
            "QueueStatus": self._queues.listed,
            "ConfbridgeListRooms": rooms.listed,
            "DeviceStateList": devices.devices_listed,
            "PJSIPShowContacts": devices.contacts_listed,
            "PJSIPShowAors": devices.aors_listed,
            "PJSIPShowEndpoints": devices.endpoints_listed,
            "PJSIPShowRegistrationsOutbound": devices.registrations_listed,
            "IAXpeerlist": devices.peers_listed,
            "IAXregistry": devices.iax2_registrations_listed,
        }
        """The handler of the items of each question's answer."""

    @property
    def stale(self) -> frozenset[str]:
        """Questions about the present state that should be asked again soon.

        They concern changes that events do not fully report: a reload, a conference's announcer, an
        unknown channel or caller. An answer removes its question.
        """
        calls = _OF_CHANNELS if self._calls.is_stale else frozenset()
        queues = _OF_QUEUES if self._queues.is_stale else frozenset()
        return frozenset(self._stale) | calls | queues

    def take(self, message: Message, now_ns: int) -> None:
        """Handle an event. Never raises, whatever its headers are.

        An event whose `Privilege` is not its kind's is forged, and dropped: a dialplan's UserEvent
        whose text has line ends is a complete event on the wire.
        """
        handler = self._handlers.get(message.event)
        if handler is None:
            self.drops["unknown-event"] += 1
            return
        if EVENTS[message.event].privilege not in message.get(PRIVILEGE).split(","):
            self.drops["forged"] += 1
            return
        self._events += 1
        handler(message, now_ns)

    def answer(self, action: str, answer: Message, items: Sequence[Message], now_ns: int) -> None:
        """Replace a part of the state by the complete answer to a question about it.

        `items` is empty if Asterisk has nothing to list. Refused questions are not passed here.
        """
        self._stale.discard(action)
        self._unanswered.discard(action)
        if action == "CoreStatus":
            self._calls.reported(answer)
        elif (take := self._answers.get(action)) is not None:
            take(items, now_ns)

    def asked(self, now_ns: int) -> None:
        """All questions asked are answered: counts are complete from now on.

        After a login, all questions that Asterisk does not refuse have been asked.
        """
        for part in (self._conferences, self._calls, self._queues, self._devices):
            part.asked(now_ns)
        self._stale -= self._unanswered
        self._unanswered = set(self._stale)
        if not self._connected:
            self._connected = True
            if self._lost_ns is not None:
                self._gap_ns += since(max(self._lost_ns, self._flushed_ns or 0), now_ns)
            self._lost_ns = None

    def lost(self, now_ns: int) -> None:
        """The connection has ended: events until the next `asked` are not counted."""
        if self._connected or self._lost_ns is None:
            self._lost_ns = now_ns
            self._connected = False
        for part in (self._conferences, self._calls, self._queues, self._devices):
            part.lost(now_ns)

    def truth(self) -> dict[Series, float]:
        """Certain values of the gauges that StatsD has too, by series."""
        found = self._devices.truth()
        if self._calls.knowledge.is_known and self._calls.knowledge.is_whole:
            found[Series(CHANNELS.name)] = float(self._calls.channels)
        return found

    def flush(self, now_ns: int) -> list[Point]:
        """Points of the flush that ends at `now_ns`, which is their time; resets the counts."""
        points: list[Point] = []

        def add(
            measurement: str, tags: Mapping[str, str], fields: Mapping[str, int | float | str]
        ) -> None:
            points.append(
                Point(measurement, {ASTERISK.name: self._asterisk, **tags}, fields, now_ns)
            )

        self._calls.flush(now_ns, add)
        self._queues.flush(now_ns, add)
        self._conferences.flush(now_ns, add)
        self._devices.flush(now_ns, add)
        self._quality.flush(add)
        self._security.flush(add)
        self._keys.flush(add)
        self._user_events.flush(add)
        if not self._connected:
            if self._lost_ns is None:
                self._lost_ns = now_ns
            self._gap_ns += since(max(self._lost_ns, self._flushed_ns or 0), now_ns)
        add(
            AMI_TRAFFIC.name,
            {},
            {
                "connected": int(self._connected),
                "events": self._events,
                "dropped": self.drops.total(),
                "gap": self._gap_ns / NS_PER_S,
                "restarts": self._restarts,
            },
        )
        self._events = self._restarts = self._gap_ns = 0
        self._flushed_ns = now_ns
        return points

    def _hangup(self, message: Message, now_ns: int) -> None:
        self._calls.hangup(message, now_ns)
        self._queues.hangup(message.get("Uniqueid"), now_ns)

    def _conference(self, message: Message, now_ns: int) -> None:
        if message.event == "ConfbridgeStart":
            self._conferences.start(message, now_ns)
        else:
            self._conferences.end(message, now_ns)
            self._calls.conference_ended()
        # Its announcer's channels have no events: CoreStatus counts them.
        self._stale |= _OF_CHANNELS

    def _device(self, message: Message, now_ns: int) -> None:
        if message.get("Device").startswith(_ANNOUNCER):
            self._stale |= _OF_CHANNELS
        else:
            self._devices.device(message, now_ns)

    def _key(self, message: Message, now_ns: int) -> None:
        if self._keys.take(message, now_ns):
            self._queues.key(message.get("Uniqueid"), now_ns)

    def _reload(self, message: Message, now_ns: int) -> None:
        # Contacts, endpoints, queues and members may have come or gone without an event.
        if message.get("Status") == "0":
            self._stale |= set(STATE)

    def _booted(self, message: Message, now_ns: int) -> None:
        """FullyBooted: after a login, or later if Asterisk was still starting."""
        uptime = message.whole("Uptime")
        if uptime is None or self._connected or self._lost_ns is None:
            return
        # Uptime is in whole seconds since a start, which was after the connection ended.
        if uptime * NS_PER_S <= since(self._lost_ns, now_ns):
            self._restarts += 1
