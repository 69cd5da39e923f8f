"""AMI actions: their bytes, the questions about the present state, and kinds of refusal. Pure."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Final

RIGHTS: Final = {
    "CoreStatus": "reporting",
    "CoreShowChannels": "reporting",
    "QueueStatus": "",
    "ConfbridgeListRooms": "reporting",
    "DeviceStateList": "reporting",
    "PJSIPShowContacts": "system",
    "PJSIPShowAors": "system",
    "PJSIPShowEndpoints": "system",
    "PJSIPShowRegistrationsOutbound": "reporting",
    "IAXpeerlist": "reporting",
    "IAXregistry": "reporting",
}
"""Class of `write` in manager.conf that each question about the state needs; empty: none."""

STATE: Final = tuple(RIGHTS)
"""Questions about the present state, in the order in which they are asked after a login."""

_ASKED_ONCE: Final = frozenset({"CoreStatus", "CoreShowChannels", "ConfbridgeListRooms"})
POLLED: Final = tuple(action for action in STATE if action not in _ASKED_ONCE)
"""Questions that are repeated at an interval, because no event reports a lost IAX2 registration or
the queues after a reload."""

WITH_SECRETS: Final = frozenset({"PJSIPShowRegistrationsOutbound"})
"""Questions whose answers contain passwords; asked on confidential connections only."""

NEEDED: Final = frozenset({"reporting"})
"""Classes of `write` that the collector needs; the other classes are optional."""


class Refusal(StrEnum):
    """Kinds of error response to an action."""

    DENIED = "denied"
    """The account lacks the right. Rights are fixed at login."""
    UNKNOWN = "unknown"
    """Asterisk does not have the action: its module is not loaded, or not loaded yet."""
    SHUTTING_DOWN = "shutting-down"
    """Asterisk is shutting down gracefully; events continue meanwhile."""
    NONE = "none"
    """The list is empty, which is not an error."""
    OTHER = "other"


def refusal_of(message: str) -> Refusal:
    """The kind of an error, by the text of its `Message`."""
    if message.startswith("Permission denied"):
        return Refusal.DENIED
    if message.startswith("Invalid/unknown command"):
        return Refusal.UNKNOWN
    if "shutting down" in message:
        return Refusal.SHUTTING_DOWN
    if message.startswith("No "):
        return Refusal.NONE
    return Refusal.OTHER


def action_bytes(name: str, action_id: str, **headers: str) -> bytes:
    """The bytes of an action; headers must be free of CR and LF."""
    lines = {"Action": name, "ActionID": action_id, **headers}
    return "".join(f"{key}: {value}\r\n" for key, value in lines.items()).encode() + b"\r\n"


def login_key(challenge: str, secret: str) -> str:
    """The response to an MD5 challenge: the digest of challenge and secret, in hex."""
    return hashlib.md5((challenge + secret).encode(), usedforsecurity=False).hexdigest()
