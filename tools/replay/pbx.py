"""An Asterisk's state as its own event stream tells it, to answer questions as Asterisk would.

It is deliberately simple and apart from the product's: dictionaries, no outcomes, no times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

Headers = dict[str, str]

PASSWORD = "Very-Secret-17"  # noqa: S105 - a decoy that must never be stored
"""The password in the answer about registrations."""
COMPLETE = {
    "CoreShowChannels": "CoreShowChannelsComplete",
    "QueueStatus": "QueueStatusComplete",
    "ConfbridgeListRooms": "ConfbridgeListRoomsComplete",
    "DeviceStateList": "DeviceStateListComplete",
    "PJSIPShowContacts": "ContactListComplete",
    "PJSIPShowRegistrationsOutbound": "OutboundRegistrationDetailComplete",
    "IAXpeerlist": "PeerlistComplete",
    "IAXregistry": "RegistrationsComplete",
}
"""The last item of each list."""
EMPTY = {
    "ConfbridgeListRooms": "No active conferences.",
    "PJSIPShowContacts": "No Contacts found",
}
"""Lists that are errors where they are empty."""


def headers(message: bytes) -> Headers:
    """The headers of a message, the first of each name."""
    found: Headers = {}
    for line in message.decode(errors="replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name, value.strip(" "))
    return found


@dataclass
class Channel:
    """A channel: its headers as last told, when it began, and the bridge that it is in."""

    told: Headers
    begun: float
    bridge: str = ""


@dataclass
class Queue:
    """A queue: members by interface (with `Status` and `Paused`), and who waits since when."""

    service_level: str = "0"
    members: dict[str, Headers] = field(default_factory=dict)
    waiting: dict[str, float] = field(default_factory=dict)


class Pbx:
    """The state, up to the last event taken. `description` is that of a recording."""

    def __init__(self, description: Iterable[str] = ()) -> None:
        self.channels: dict[str, Channel] = {}
        self.queues = dict(_queues(description))
        self.devices: dict[str, str] = {}
        self.contacts: dict[tuple[str, str], str] = {}
        self.registrations: dict[tuple[str, str], str] = {}
        self.iax_peers: dict[str, str] = {}
        self.iax_registrations: dict[tuple[str, str], str] = {}
        self.rooms: dict[str, set[str]] = {}
        self.started = "2026-11-25 00:00:00"

    def restarted(self, at: float) -> None:
        """All calls are gone; contacts and members are known anew."""
        self.channels, self.rooms = {}, {}
        for queue in self.queues.values():
            queue.waiting = {}
        self.started = f"2026-11-25 00:{int(at) // 60:02d}:{int(at) % 60:02d}"

    def take(self, message: bytes, at: float) -> None:
        """Take an event of the stream."""
        told = headers(message)
        uniqueid, name = told.get("Uniqueid", ""), told.get("Event", "")
        if "Privilege" not in told:
            return
        if name == "Newchannel":
            self.channels[uniqueid] = Channel(told, at)
        elif name == "Newstate" and uniqueid in self.channels:
            self.channels[uniqueid].told = told
        elif name == "Hangup":
            self.channels.pop(uniqueid, None)
        elif name in {"BridgeEnter", "BridgeLeave"} and uniqueid in self.channels:
            enters = name == "BridgeEnter"
            self.channels[uniqueid].bridge = told["BridgeUniqueid"] if enters else ""
        elif name == "DeviceStateChange":
            self.devices[told["Device"]] = told["State"]
        elif name.startswith(("Queue", "Agent")):
            self._take_queue(name, told, at)
        elif name.startswith("Confbridge"):
            self._take_room(name, told)
        else:
            self._take_peer(name, told)

    def _take_queue(self, name: str, told: Mapping[str, str], at: float) -> None:
        if "Queue" not in told:
            return
        queue = self.queues.setdefault(told["Queue"], Queue())
        if name == "QueueCallerJoin":
            queue.waiting[told["Uniqueid"]] = at
        elif name == "QueueCallerLeave":
            queue.waiting.pop(told["Uniqueid"], None)
        elif name == "QueueMemberRemoved":
            queue.members.pop(told["Interface"], None)
        elif name.startswith("QueueMember"):
            queue.members[told["Interface"]] = {
                "Status": told["Status"],
                "Paused": told["Paused"],
            }

    def _take_room(self, name: str, told: Mapping[str, str]) -> None:
        room = told["Conference"]
        if name == "ConfbridgeEnd":
            self.rooms.pop(room, None)
        elif name == "ConfbridgeStart":
            self.rooms.setdefault(room, set())
        elif name == "ConfbridgeJoin":
            self.rooms.setdefault(room, set()).add(told["Uniqueid"])
        elif name == "ConfbridgeLeave":
            self.rooms.setdefault(room, set()).discard(told["Uniqueid"])

    def _take_peer(self, name: str, told: Mapping[str, str]) -> None:
        if name == "ContactStatus":
            contact = (told["AOR"], told["URI"])
            self.contacts[contact] = told["ContactStatus"]
            if told["ContactStatus"] == "Removed":
                del self.contacts[contact]
        elif name == "Registry" and told["ChannelType"] == "PJSIP":
            self.registrations[told["Username"], told["Domain"]] = told["Status"]
        elif name == "Registry":
            self.iax_registrations[told["Username"], told["Domain"]] = told["Status"]
        elif name == "PeerStatus" and told["ChannelType"] == "IAX2":
            reachable = told["PeerStatus"] == "Reachable"
            status = f"OK ({told.get('Time', '1')} ms)" if reachable else "UNREACHABLE"
            self.iax_peers[told["Peer"].partition("/")[2]] = status

    def items(self, action: str, at: float) -> Iterator[tuple[str, Headers]]:
        """Items of the answer to a question, each with its event's name."""
        listed: dict[str, Callable[[float], Iterator[tuple[str, Headers]]]] = {
            "CoreShowChannels": self._channel_items,
            "QueueStatus": self._queue_items,
            "ConfbridgeListRooms": self._room_items,
            "DeviceStateList": self._device_items,
            "PJSIPShowContacts": self._contact_items,
            "PJSIPShowRegistrationsOutbound": self._registration_items,
            "IAXpeerlist": self._iax_peer_items,
            "IAXregistry": self._iax_registration_items,
        }
        return listed[action](at)

    def _channel_items(self, at: float) -> Iterator[tuple[str, Headers]]:
        for channel in self.channels.values():
            yield "CoreShowChannel", _shown(channel, at)

    def _room_items(self, _at: float) -> Iterator[tuple[str, Headers]]:
        for room, people in self.rooms.items():
            parties = str(len(people))
            yield "ConfbridgeListRooms", {"Conference": room, "Parties": parties, "Locked": "No"}

    def _device_items(self, _at: float) -> Iterator[tuple[str, Headers]]:
        for device, state in self.devices.items():
            yield "DeviceStateChange", {"Device": device, "State": state}

    def _contact_items(self, _at: float) -> Iterator[tuple[str, Headers]]:
        for (aor, uri), status in self.contacts.items():
            told = {"ObjectName": f"{aor};@{hash(uri):x}", "Uri": uri, "Status": status}
            yield "ContactList", {"ObjectType": "contact", **told, "RoundtripUsec": "900"}

    def _registration_items(self, _at: float) -> Iterator[tuple[str, Headers]]:
        for (client, server), status in self.registrations.items():
            told = {"ClientUri": client, "ServerUri": server, "Status": status}
            yield "OutboundRegistrationDetail", {"ObjectName": "reg", **told}
            yield "AuthDetail", {"ObjectName": "auth", "Password": PASSWORD}

    def _iax_peer_items(self, _at: float) -> Iterator[tuple[str, Headers]]:
        for peer, status in self.iax_peers.items():
            yield "PeerEntry", {"Channeltype": "IAX", "ObjectName": peer, "Status": status}

    def _iax_registration_items(self, _at: float) -> Iterator[tuple[str, Headers]]:
        for (user, host), status in self.iax_registrations.items():
            yield "RegistryEntry", {"Host": host, "Username": user, "State": status}

    def _queue_items(self, at: float) -> Iterator[tuple[str, Headers]]:
        for name, queue in self.queues.items():
            calls = str(len(queue.waiting))
            params = {"Calls": calls, "ServiceLevel": queue.service_level}
            yield "QueueParams", {"Queue": name, "Max": "0", **params}
            for interface, told in queue.members.items():
                member = {"Queue": name, "Name": "Some Body", "Location": interface}
                yield "QueueMember", {**member, **told}
            for position, (uniqueid, since) in enumerate(queue.waiting.items(), 1):
                entry = {"Queue": name, "Position": str(position), "Uniqueid": uniqueid}
                yield "QueueEntry", {**entry, "Wait": str(int(at - since))}


def _shown(channel: Channel, at: float) -> Headers:
    seconds = int(at - channel.begun)
    duration = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    hidden = {"Event", "Privilege"}
    told = {name: value for name, value in channel.told.items() if name not in hidden}
    return {**told, "Application": "Dial", "Duration": duration, "BridgeId": channel.bridge}


def _queues(description: Iterable[str]) -> Iterator[tuple[str, Queue]]:
    """Queues of the queues.conf in a recording's description."""
    lines = iter(description)
    for line in lines:
        if line.strip() == "--- queues.conf ---":
            break
    name, queue = "", Queue()
    for line in lines:
        if not line.startswith("| "):
            break
        text = line[2:].strip()
        key, _, value = (part.strip() for part in text.partition("="))
        if text.startswith("["):
            name, queue = text.strip("[]"), Queue()
            if name != "general":
                yield name, queue
        elif key == "servicelevel":
            queue.service_level = value
        elif key == "member":
            queue.members[value.lstrip("> ").split(",")[0]] = {"Status": "5", "Paused": "0"}
