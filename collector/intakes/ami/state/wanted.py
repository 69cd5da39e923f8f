"""Events, items of answers and headers that the state needs; all others are dropped unread. Pure.

Names: https://docs.asterisk.org/Latest_API/API_Documentation/AMI_Events/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PRIVILEGE: Final = "Privilege"
"""Header with an event's class. Asterisk writes it second; a forged event may lack it."""

SECURITY_KINDS: Final = (
    "AuthMethodNotAllowed",
    "ChallengeResponseFailed",
    "ChallengeSent",
    "FailedACL",
    "InvalidAccountID",
    "InvalidPassword",
    "InvalidTransport",
    "LoadAverageLimit",
    "MemoryLimit",
    "RequestBadFormat",
    "RequestNotAllowed",
    "RequestNotSupported",
    "SessionLimit",
    "SuccessfulAuth",
    "UnexpectedAddress",
)
"""Names of all events of the class `security`."""

PERSONAL: Final = (
    "CallerIDNum",
    "CallerIDName",
    "ConnectedLineNum",
    "ConnectedLineName",
    "AccountCode",
)
"""Headers of a UserEvent with numbers and names of its call."""


@dataclass(frozen=True, slots=True)
class EventKind:
    """An event's class, as in manager.conf's `read`, and the headers of it that are read."""

    privilege: str
    headers: tuple[str, ...]


_CHANNEL = ("Uniqueid", "Linkedid")
_MEMBER = ("Queue", "Interface", "Status", "Paused")
_SERVED = ("Uniqueid", "Queue", "Interface")

EVENTS: Final[Mapping[str, EventKind]] = {
    "Newchannel": EventKind("call", (*_CHANNEL, "Channel", "ChannelState")),
    "Newstate": EventKind("call", (*_CHANNEL, "ChannelState")),
    "DialBegin": EventKind("call", ("DestUniqueid",)),
    "DialEnd": EventKind("call", ("DestUniqueid", "DialStatus")),
    "BridgeEnter": EventKind("call", _CHANNEL),
    "Hangup": EventKind("call", (*_CHANNEL, "Cause", "TechCause")),
    "QueueCallerJoin": EventKind("agent", ("Uniqueid", "Queue", "Count")),
    "QueueCallerLeave": EventKind("agent", ("Uniqueid", "Queue", "Count")),
    "QueueCallerAbandon": EventKind("agent", ("Uniqueid", "Queue", "HoldTime")),
    "AgentConnect": EventKind("agent", (*_SERVED, "HoldTime")),
    "AgentComplete": EventKind("agent", _SERVED),
    "AgentRingNoAnswer": EventKind("agent", _SERVED),
    "QueueMemberAdded": EventKind("agent", _MEMBER),
    "QueueMemberStatus": EventKind("agent", _MEMBER),
    "QueueMemberPause": EventKind("agent", _MEMBER),
    "QueueMemberRemoved": EventKind("agent", _MEMBER),
    "ConfbridgeStart": EventKind("call", ("Conference",)),
    "ConfbridgeEnd": EventKind("call", ("Conference",)),
    "ConfbridgeJoin": EventKind("call", ("Conference", "Uniqueid")),
    "ConfbridgeLeave": EventKind("call", ("Conference", "Uniqueid")),
    "DeviceStateChange": EventKind("call", ("Device", "State")),
    "ContactStatus": EventKind("system", ("AOR", "URI", "ContactStatus")),
    "PeerStatus": EventKind("system", ("ChannelType", "Peer", "PeerStatus")),
    "Registry": EventKind("system", ("ChannelType", "Username", "Domain", "Status")),
    "FullyBooted": EventKind("system", ("Uptime",)),
    "Reload": EventKind("system", ("Status",)),
    "RTCPSent": EventKind(
        "reporting", ("Channel", "MES", "Report0FractionLost", "Report0IAJitter")
    ),
    "RTCPReceived": EventKind(
        "reporting", ("Channel", "MES", "RTT", "Report0FractionLost", "Report0IAJitter")
    ),
    "DTMFEnd": EventKind("dtmf", ("Uniqueid", "Direction")),
    # The call's own numbers and names are read to refuse metrics named after them.
    "UserEvent": EventKind("user", ("UserEvent", "Name", "Value", "Type", "Channel", *PERSONAL)),
    **{kind: EventKind("security", ("Service",)) for kind in SECURITY_KINDS},
}
"""Events, by name."""

ITEMS: Final[Mapping[str, tuple[str, ...]]] = {
    "CoreShowChannel": (*_CHANNEL, "Channel", "ChannelState", "BridgeId"),
    "QueueParams": ("Queue", "ServiceLevel"),
    "QueueMember": ("Queue", "Location", "Status", "Paused"),
    "QueueEntry": ("Queue", "Uniqueid", "Wait"),
    "ConfbridgeListRooms": ("Conference", "Parties"),
    "DeviceStateChange": ("Device", "State"),
    "ContactList": ("ObjectName", "Uri", "Status"),
    "AorList": ("ObjectName", "Contacts", "QualifyFrequency"),
    "EndpointList": ("ObjectName", "DeviceState", "Contacts"),
    "OutboundRegistrationDetail": ("ClientUri", "ServerUri", "Status"),
    "PeerEntry": ("ObjectName", "Status"),
    "RegistryEntry": ("Host", "Username", "State"),
}
"""Items of answers, by name."""

RESPONSE: Final = ("CoreCurrentCalls",)
"""Headers of responses that are read, beside those of the protocol."""


WANTED: Final[Mapping[str, frozenset[str]]] = {
    **{name: frozenset(headers) for name, headers in ITEMS.items()},
    **{
        name: frozenset((PRIVILEGE, *kind.headers, *ITEMS.get(name, ())))
        for name, kind in EVENTS.items()
    },
}
"""Headers of all events and items that are read, by name."""

CLASSES: Final = frozenset(kind.privilege for kind in EVENTS.values())
"""Classes that the AMI user needs in `read`."""
