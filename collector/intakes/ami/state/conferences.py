"""Conferences, and the people in them: present numbers and counts. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from collector.asterisk_names import Names
from collector.intakes.ami.message import Message
from collector.intakes.ami.state.times import Knowledge
from collector.intakes.series import Add
from collector.schema.ami import CONFERENCES

MOST_ROOMS: Final = 2_000
MOST_PEOPLE: Final = 20_000
"""Most people in memory, of all conferences."""


@dataclass(slots=True)
class _Room:
    """A conference. `unnamed` is the number of people who joined unseen."""

    people: set[str] = field(default_factory=set)
    unnamed: int = 0

    @property
    def count(self) -> int:
        return len(self.people) + self.unnamed


class Conferences:
    """Conferences of one Asterisk, by Asterisk's own name, which may be a number."""

    def __init__(self, names: Names, drops: Counter[str]) -> None:
        self._names = names
        self._drops = drops
        self._rooms: dict[str, _Room] = {}
        self._people = 0
        self._joined = 0
        self.knowledge = Knowledge()

    def start(self, message: Message, now_ns: int) -> None:
        """ConfbridgeStart."""
        self._room(message)

    def end(self, message: Message, now_ns: int) -> None:
        """ConfbridgeEnd: sent up to 1 s after the last person has left."""
        room = self._rooms.pop(message.get("Conference"), None)
        if room is not None:
            self._people -= room.count

    def join(self, message: Message, now_ns: int) -> None:
        """ConfbridgeJoin."""
        self._joined += 1
        room, name = self._room(message), message.get("Uniqueid")
        if room is None or name in room.people:
            return
        if self._people >= MOST_PEOPLE:
            self._drops["people"] += 1
            return
        room.people.add(name)
        self._people += 1

    def leave(self, message: Message, now_ns: int) -> None:
        """ConfbridgeLeave."""
        room = self._rooms.get(message.get("Conference"))
        if room is None:
            self._drops["unknown-conference"] += 1
            return
        name = message.get("Uniqueid")
        if name in room.people:
            room.people.remove(name)
        elif room.unnamed:
            room.unnamed -= 1
        else:
            return
        self._people -= 1

    def listed(self, items: Sequence[Message], now_ns: int) -> None:
        """ConfbridgeListRooms: the conferences, and the number of people in each."""
        before, self._rooms = self._rooms, {}
        self._people = 0
        for item in items:
            name, parties = item.get("Conference"), item.whole("Parties") or 0
            room = self._room(item)
            if room is None:
                continue
            known = before.get(name, _Room()).people if self.knowledge.is_whole else set()
            # If the numbers differ, or people may have come unseen, those present are unknown.
            room.people = known if len(known) == parties else set()
            room.unnamed = min(parties - len(room.people), MOST_PEOPLE - self._people)
            self._people += room.count
        self.knowledge.complete()

    def lost(self, now_ns: int) -> None:
        """The connection has ended."""
        self.knowledge.lose(now_ns)

    def asked(self, now_ns: int) -> None:
        """All questions are answered; without an answer to this one, earlier people are unknown."""
        if not self.knowledge.is_whole and not self.knowledge.is_known:
            self._rooms.clear()
            self._people = 0
        self.knowledge.asked(now_ns)

    def flush(self, now_ns: int, add: Add) -> None:
        """Add the points of a flush and reset the counts."""
        uncertain = self.knowledge.fields(now_ns)
        fields: dict[str, int] = {"joined": self._joined, **uncertain}
        if self.knowledge.is_known:
            counts = [room.count for room in self._rooms.values()]
            fields |= {
                "rooms": len(counts),
                "people": sum(counts),
                "largest": max(counts, default=0),
            }
        add(CONFERENCES.name, {}, fields)
        self._joined = 0
        if not self.knowledge.is_known:
            return
        for conference, name in sorted(self._names.conferences.items()):
            room = self._rooms.get(conference, _Room())
            add(CONFERENCES.name, {"conference": name}, {"present": room.count, **uncertain})

    def _room(self, message: Message) -> _Room | None:
        name = message.get("Conference")
        room = self._rooms.get(name)
        if room is None and len(self._rooms) < MOST_ROOMS:
            room = self._rooms.setdefault(name, _Room())
        elif room is None:
            self._drops["conferences"] += 1
        return room
