"""Counts of security events and of keys. Pure."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from collector.intakes.ami.message import Message
from collector.intakes.series import Add
from collector.schema import OTHER
from collector.schema.ami import DTMF, SECURITY

_MOST_SERVICES: Final = 20
_SERVICE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,15}")
_WAYS: Final = {"Received": "received", "Sent": "sent"}


class Security:
    """Counts of one Asterisk's security events, by kind and service."""

    def __init__(self) -> None:
        self._services: set[str] = set()
        self._counts: Counter[tuple[str, str]] = Counter()

    def take(self, message: Message, now_ns: int) -> None:
        """Count an event of the class `security`."""
        service = message.get("Service")
        if service not in self._services:
            if len(self._services) < _MOST_SERVICES and _SERVICE.fullmatch(service):
                self._services.add(service)
            else:
                service = OTHER
        self._counts[(message.event, service)] += 1

    def flush(self, add: Add) -> None:
        """Add the points of a flush and reset the counts."""
        for (kind, service), count in sorted(self._counts.items()):
            add(SECURITY.name, {"kind": kind, "service": service}, {"count": count})
        self._counts.clear()


class Keys:
    """Counts of one Asterisk's keys (DTMF), by direction; the keys themselves are not read."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def take(self, message: Message, now_ns: int) -> bool:
        """Count a DTMFEnd; return whether the key was received. SIP INFO has no DTMFBegin."""
        way = _WAYS.get(message.get("Direction"))
        if way is not None:
            self._counts[way] += 1
        return way == "received"

    def flush(self, add: Add) -> None:
        """Add the points of a flush and reset the counts."""
        for way in _WAYS.values():
            add(DTMF.name, {"direction": way}, {"count": self._counts[way]})
        self._counts.clear()
