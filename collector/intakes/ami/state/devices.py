"""Endpoints, PJSIP contacts, registrations and IAX2 peers, by state. Pure.

Their names and addresses stay in memory, to distinguish them, and are never stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from collector.asterisk_names import Names
from collector.intakes.ami.message import Message
from collector.intakes.ami.state.kind import MOST_DEVICES, Key, Kind
from collector.intakes.ami.state.trunks import Trunks
from collector.intakes.series import Add, Series
from collector.schema import ALL, OTHER
from collector.schema.ami import IAX2_PEERS, IAX2_REGISTRATIONS
from collector.schema.live import ENDPOINTS, PJSIP_CONTACTS, PJSIP_REGISTRATIONS

_ONLINE: Final = "online"
_OFFLINE: Final = "offline"
_UNKNOWN: Final = "unknown"
_ENDPOINT_STATES: Final = (_ONLINE, _OFFLINE, _UNKNOWN, ALL)
_PEER_STATES: Final = ("reachable", "unreachable", "unmonitored", "unknown")
_CONTACT_STATES: Final = ("Reachable", "Unreachable", "Unknown", "NonQualified")
_REGISTRATION_STATES: Final = ("Registered", "Unregistered", "Rejected", ALL)
_IAX2_REGISTRATION_STATES: Final = (
    "Registered",
    "Unregistered",
    "Rejected",
    "Request Sent",
    "Auth Sent",
    "Timeout",
    "No Authentication",
    "Unknown",
    OTHER,
)
_UNASKED: Final = "Unknown"
_REMOVED: Final = "Removed"
_PJSIP: Final = "PJSIP"
_IAX2: Final = "IAX2"
_GUESSES: Final = {"not in use": "Reachable", "unavailable": "Unreachable"}
"""State of an endpoint's only contact, by the endpoint's state; an endpoint in a call is absent."""
_PEERS_ONLINE: Final = {
    "reachable": _ONLINE,
    "unreachable": _OFFLINE,
    "unmonitored": _UNKNOWN,
    "unknown": _UNKNOWN,
}
"""State of an IAX2 peer as an endpoint, as Asterisk's StatsD counts it."""


class Devices:
    """Endpoints, contacts, registrations and IAX2 peers of one Asterisk.

    With `has_statsd`, gauges that are uncertain here are left to StatsD, which has them too.
    """

    def __init__(self, drops: Counter[str], names: Names, *, has_statsd: bool) -> None:
        self._has_statsd = has_statsd
        self._trunks = Trunks(names)
        self._endpoints = Kind(_ENDPOINT_STATES, drops, "endpoints")
        self._contacts = Kind(_CONTACT_STATES, drops, "contacts")
        self._registrations = Kind(_REGISTRATION_STATES, drops, "registrations")
        self._peers = Kind(_PEER_STATES, drops, "peers")
        self._iax2_registrations = Kind(_IAX2_REGISTRATION_STATES, drops, "registrations")
        # By measurement: kinds that StatsD counts too, and those of IAX2.
        self._of_statsd = {
            ENDPOINTS.name: self._endpoints,
            PJSIP_CONTACTS.name: self._contacts,
            PJSIP_REGISTRATIONS.name: self._registrations,
        }
        self._of_iax2 = {
            IAX2_PEERS.name: self._peers,
            IAX2_REGISTRATIONS.name: self._iax2_registrations,
        }
        self._kinds = (*self._of_statsd.values(), *self._of_iax2.values())
        # Contacts that registered, by state, as listed last in this connection.
        self._listed: dict[Key, str] | None = None
        # Contacts that had an event in this connection.
        self._told: set[Key] = set()
        # States of endpoints' only contacts, inferred from the endpoints in the last list.
        self._guesses: dict[Key, str] = {}

    # Events

    def device(self, message: Message, now_ns: int) -> None:
        """DeviceStateChange: a device of any kind changes state; PJSIP's devices are endpoints."""
        technology, _, name = message.get("Device").partition("/")
        state = message.get("State")
        if technology == _PJSIP and name:
            self._set_endpoint(name, state)

    def peer(self, message: Message, now_ns: int) -> None:
        """PeerStatus: an endpoint becomes reachable or unreachable."""
        technology = message.get("ChannelType")
        _, _, name = message.get("Peer").partition("/")
        status = message.get("PeerStatus")
        if technology == _IAX2 and name:
            self._set_peer(name, _peer_state(status))

    def contact(self, message: Message, now_ns: int) -> None:
        """ContactStatus: a contact is added, changes, or is removed."""
        key = (message.get("AOR"), message.get("URI"))
        status = message.get("ContactStatus")
        if status == _REMOVED:
            self._contacts.remove(key)
            self._told.discard(key)
            return
        self._contacts.set(key, _contact_state(status))
        if len(self._told) < MOST_DEVICES:
            self._told.add(key)

    def registry(self, message: Message, now_ns: int) -> None:
        """Registry: the result of a registration with another server."""
        technology, status = message.get("ChannelType"), message.get("Status")
        key = (message.get("Username"), message.get("Domain"))
        if technology == _PJSIP:
            self._registrations.set(key, status)
        elif technology == _IAX2:
            self._iax2_registrations.set(key, status)

    # Answers

    def contacts_listed(self, items: Sequence[Message], now_ns: int) -> None:
        """PJSIPShowContacts: registered contacts with their states, without permanent ones."""
        self._listed = {
            (_aor(item.get("ObjectName")), item.get("Uri")): item.get("Status") for item in items
        }
        for key, status in self._listed.items():
            self._contacts.set(key, _contact_state(status))

    def aors_listed(self, items: Sequence[Message], now_ns: int) -> None:
        """PJSIPShowAors: all contacts; permanent ones without their state."""
        found: dict[Key, str] = {}
        for item in items:
            is_qualified = bool(item.whole("QualifyFrequency"))
            for contact in item.get("Contacts").split(","):
                aor, mark, uri = contact.strip().partition("/")
                key = (aor, uri)
                if mark:
                    known = _contact_state((self._listed or {}).get(key, _UNASKED))
                    if known == _UNASKED and key in self._told:
                        known = self._contacts.get(key) or _UNASKED
                    found[key] = known if is_qualified or known != _UNASKED else "NonQualified"
        self._contacts.replace(found.items())
        self._guess()

    def endpoints_listed(self, items: Sequence[Message], now_ns: int) -> None:
        """PJSIPShowEndpoints: all endpoints, whose states show those of permanent contacts."""
        endpoints: dict[Key, str] = {}
        self._guesses.clear()
        for item in items:
            state = item.get("DeviceState")
            endpoints[(item.get("ObjectName"),)] = _online(state)
            contacts = item.get("Contacts").strip(",").split(",")
            guess = _GUESSES.get(state.lower())
            if guess is not None and len(contacts) == 1 and len(self._guesses) < MOST_DEVICES:
                aor, _, uri = contacts[0].partition("/")
                self._guesses[(aor, uri)] = guess
        self._endpoints.replace(endpoints.items())
        self._guess()

    def devices_listed(self, items: Sequence[Message], now_ns: int) -> None:
        """DeviceStateList: devices with a state; not all endpoints are among them."""
        for item in items:
            self.device(item, now_ns)

    def registrations_listed(self, items: Sequence[Message], now_ns: int) -> None:
        """PJSIPShowRegistrationsOutbound."""
        _replace(self._registrations, items, ("ClientUri", "ServerUri"), "Status")

    def peers_listed(self, items: Sequence[Message], now_ns: int) -> None:
        """IAXpeerlist: all IAX2 peers."""
        self._peers.replace(())
        for item in items:
            name = item.get("ObjectName")
            self._set_peer(name, _peer_state(item.get("Status")))

    def iax2_registrations_listed(self, items: Sequence[Message], now_ns: int) -> None:
        """IAXregistry: all IAX2 registrations."""
        _replace(self._iax2_registrations, items, ("Username", "Host"), "State")

    def lost(self, now_ns: int) -> None:
        """The connection has ended."""
        self._listed = None
        self._told.clear()
        self._trunks.lost()
        for kind in self._kinds:
            kind.knowledge.lose(now_ns)

    def asked(self, now_ns: int) -> None:
        """All questions are answered."""
        if self._listed is not None and not self._contacts.knowledge.is_whole:
            # Without PJSIPShowAors only permanent contacts that had an event are known.
            self._contacts.keep({*self._listed, *self._told})
        for kind in self._kinds:
            kind.knowledge.asked(now_ns)

    # Points

    def flush(self, now_ns: int, add: Add) -> None:
        """Add the points of a flush."""
        self._trunks.flush(add)
        for name, kind in self._of_statsd.items():
            knowledge = kind.knowledge
            if knowledge.is_known and (knowledge.is_whole or not self._has_statsd):
                for state, count in self._counts(kind).items():
                    fields = {"count": float(count), **knowledge.fields(now_ns)}
                    add(name, {"state": state}, fields)
        for name, kind in self._of_iax2.items():
            knowledge, counts = kind.knowledge, kind.counts()
            # Unless something is listed or known, Asterisk has no IAX2.
            if knowledge.is_known and (knowledge.is_whole or any(counts.values())):
                for state, count in counts.items():
                    add(name, {"state": state}, {"count": count, **knowledge.fields(now_ns)})

    def truth(self) -> dict[Series, float]:
        """Gauges that StatsD has too, as far as they are certain."""
        return {
            Series.of(name, state=state): float(count)
            for name, kind in self._of_statsd.items()
            if kind.knowledge.is_known and kind.knowledge.is_whole
            for state, count in self._counts(kind).items()
        }

    def _counts(self, kind: Kind) -> dict[str, int]:
        """Number of things by state; the endpoints are those of PJSIP and the peers of IAX2."""
        counts = kind.counts()
        if kind is self._endpoints:
            for state, count in self._peers.counts().items():
                counts[_PEERS_ONLINE[state]] += count
                counts[ALL] += count
        return counts

    def _guess(self) -> None:
        """Infer the state of permanent contacts without an event from that of their endpoint."""
        for key, guess in self._guesses.items():
            if self._contacts.get(key) == _UNASKED:
                self._contacts.set(key, guess)

    def _set_endpoint(self, name: str, state: str) -> None:
        if state == "INVALID":
            # It was taken out of the configuration.
            self._endpoints.remove((name,))
        else:
            self._endpoints.set((name,), _online(state))
        self._set_trunk(f"{_PJSIP}/{name}", _online(state))

    def _set_peer(self, name: str, state: str) -> None:
        self._peers.set((name,), state)
        self._set_trunk(f"{_IAX2}/{name}", _PEERS_ONLINE[state])

    def _set_trunk(self, endpoint: str, state: str) -> None:
        is_reachable = None if state == _UNKNOWN else state == _ONLINE
        self._trunks.set(endpoint, is_reachable=is_reachable)


def _replace(kind: Kind, items: Sequence[Message], key: Sequence[str], state: str) -> None:
    """Replace things by those of a list; `key` and `state` are the headers that hold them."""
    kind.replace((tuple(item.get(name) for name in key), item.get(state)) for item in items)


def _online(state: str) -> str:
    """State of an endpoint from its device's state, as AMI or the CLI spells it."""
    if state.upper() in ("UNAVAILABLE", "INVALID"):
        return _OFFLINE
    return _UNKNOWN if state.upper() in ("", "UNKNOWN") else _ONLINE


def _contact_state(status: str) -> str:
    return status if status in _CONTACT_STATES else _UNASKED


def _peer_state(status: str) -> str:
    """The state of an IAX2 peer: `OK (3 ms)`, `LAGGED (900 ms)`, `Reachable`, `UNREACHABLE`..."""
    word = status.partition(" ")[0].lower()
    if word in ("ok", "lagged"):
        return "reachable"
    return word if word in _PEER_STATES else "unknown"


def _aor(name: str) -> str:
    """The address of record in a contact's name: `alice;@HASH`, or `trunk@@HASH` (permanent)."""
    return name.rpartition(";@")[0] or name.rpartition("@@")[0] or name
