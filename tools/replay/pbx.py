"""An Asterisk's state as its own event stream tells it, to answer questions as Asterisk would.

It is deliberately simple and apart from the product's: dictionaries, no outcomes, no times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    "PJSIPShowAors": "AorListComplete",
    "PJSIPShowEndpoints": "EndpointListComplete",
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
DEVICE_STATES = {
    "NOT_INUSE": "Not in use",
    "INUSE": "In use",
    "BUSY": "Busy",
    "INVALID": "Invalid",
    "UNAVAILABLE": "Unavailable",
    "RINGING": "Ringing",
    "RINGINUSE": "Ring+Inuse",
    "ONHOLD": "On Hold",
    "UNKNOWN": "Unknown",
}
"""States of an endpoint, by the state of its device."""


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
    """The state: what was answered last about each thing, and the events since.

    `description` is that of a recording, whose configured queues there are from the beginning.
    """

    def __init__(self, description: Iterable[str] = ()) -> None:
        self.channels: dict[str, Channel] = {}
        self.queues = dict(_queues(description))
        self.devices: dict[str, str] = {}
        self.aors: dict[str, set[str]] = {}
        self.endpoints: dict[str, str] = {}
        self.contacts: dict[tuple[str, str], str] = {}
        self.registrations: dict[tuple[str, str], str] = {}
        self.iax_peers: dict[str, str] = {}
        self.iax_registrations: dict[tuple[str, str], str] = {}
        self.rooms: dict[str, set[str]] = {}
        self.started = "2026-11-25 00:00:00"

    def answered(self, action: str, items: Sequence[Mapping[str, str]]) -> None:
        """Take the answer that Asterisk gave to a question."""
        if action == "QueueStatus":
            for item in items:
                self._queue_answered(item)
        elif action == "PJSIPShowContacts":
            known = {(i["ObjectName"].partition(";")[0], i["Uri"]): i["Status"] for i in items}
            self.contacts = known
        elif action == "PJSIPShowAors":
            self.aors = {item["ObjectName"]: _uris(item["Contacts"]) for item in items}
        elif action == "PJSIPShowEndpoints":
            self.endpoints = {item["ObjectName"]: item["DeviceState"] for item in items}
        elif action == "PJSIPShowRegistrationsOutbound":
            own = [item for item in items if "ClientUri" in item]
            self.registrations = {(i["ClientUri"], i["ServerUri"]): i["Status"] for i in own}
        elif action == "IAXpeerlist":
            self.iax_peers = {item["ObjectName"]: item["Status"] for item in items}
        elif action == "IAXregistry":
            self.iax_registrations = {(i["Username"], i["Host"]): i["State"] for i in items}

    def _queue_answered(self, item: Mapping[str, str]) -> None:
        queue = self.queues.setdefault(item["Queue"], Queue())
        if "Location" in item:
            told = {"Status": item["Status"], "Paused": item["Paused"]}
            queue.members[item["Location"]] = told
        elif "ServiceLevel" in item:
            queue.service_level = item["ServiceLevel"]

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
            self._take_device(told["Device"], told["State"])
        elif name.startswith(("Queue", "Agent")):
            self._take_queue(name, told, at)
        elif name.startswith("Confbridge"):
            self._take_room(name, told)
        else:
            self._take_peer(name, told)

    def _take_device(self, device: str, state: str) -> None:
        self.devices[device] = state
        technology, _, endpoint = device.partition("/")
        if technology == "PJSIP":
            self.endpoints[endpoint] = DEVICE_STATES[state]

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
            uris = self.aors.setdefault(contact[0], set())
            self.contacts[contact] = told["ContactStatus"]
            uris.add(contact[1])
            if told["ContactStatus"] == "Removed":
                del self.contacts[contact]
                uris.discard(contact[1])
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
            "PJSIPShowAors": self._aor_items,
            "PJSIPShowEndpoints": self._endpoint_items,
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

    def _aor_items(self, _at: float) -> Iterator[tuple[str, Headers]]:
        for aor, uris in self.aors.items():
            contacts = ",".join(f"{aor}/{uri}" for uri in sorted(uris))
            yield "AorList", {"ObjectType": "aor", "ObjectName": aor, "Contacts": contacts}

    def _endpoint_items(self, _at: float) -> Iterator[tuple[str, Headers]]:
        for endpoint, state in self.endpoints.items():
            contacts = ",".join(f"{endpoint}/{u}" for u in sorted(self.aors.get(endpoint, ())))
            told = {"ObjectName": endpoint, "DeviceState": state, "Contacts": contacts}
            yield "EndpointList", {"ObjectType": "endpoint", **told}

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


def _uris(contacts: str) -> set[str]:
    """Addresses in an AOR's list, `AOR/URI` with commas between."""
    return {one.partition("/")[2] for one in contacts.split(",") if one}


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
