"""Agents: members of queues, counted by state, and singly if the operator named them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from collector.asterisk_names import Names
from collector.intakes.ami.message import Message
from collector.intakes.ami.state.times import NS_PER_S
from collector.intakes.series import Add
from collector.schema.ami import AGENTS

MOST_MEMBERS: Final = 5_000
"""Most members held, of all queues."""


class AgentState(StrEnum):
    """State of a queue's member; `PAUSED` takes precedence over the state of its phone."""

    AVAILABLE = "available"
    RINGING = "ringing"
    IN_USE = "in_use"
    ON_HOLD = "on_hold"
    BUSY = "busy"
    PAUSED = "paused"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"


_STATES: Final = {
    1: AgentState.AVAILABLE,
    2: AgentState.IN_USE,
    3: AgentState.BUSY,
    4: AgentState.UNAVAILABLE,
    5: AgentState.UNAVAILABLE,
    6: AgentState.RINGING,
    7: AgentState.RINGING,
    8: AgentState.ON_HOLD,
}
"""Asterisk's device states, as in the header Status: invalid (4) counts as unavailable, ringing
while in use (7) as ringing."""


class Agents:
    """Members of the queues of one Asterisk, by queue and interface."""

    def __init__(self, names: Names, drops: Counter[str]) -> None:
        self._names = names.agents
        self._drops = drops
        self._members: dict[str, dict[str, AgentState]] = {}
        self._held = 0
        self._counts: dict[tuple[str, str], Counter[str]] = {}

    def set(self, queue: str, interface: str, message: Message) -> None:
        """Set a member's state from an event or item."""
        members = self._members.setdefault(queue, {})
        if interface not in members:
            if self._held >= MOST_MEMBERS or not interface:
                self._drops["members"] += 1
                return
            self._held += 1
        status = message.whole("Status")
        state = _STATES.get(-1 if status is None else status, AgentState.UNKNOWN)
        members[interface] = AgentState.PAUSED if message.get("Paused") == "1" else state

    def remove(self, queue: str, interface: str) -> None:
        """Remove a member from a queue."""
        if self._members.get(queue, {}).pop(interface, None) is not None:
            self._held -= 1

    def clear(self) -> None:
        """Remove all members, before they are listed again."""
        self._members.clear()
        self._held = 0

    def count(self, queue: str, interface: str, name: str, number: int = 1) -> None:
        """Add to a count of an agent: `answered`, `unanswered` or `talk_ns`.

        Agents that the operator has not named are not counted singly.
        """
        if interface in self._names:
            self._counts.setdefault((queue, interface), Counter())[name] += number

    def states(self, queue: str) -> Counter[AgentState]:
        """Number of members of a queue in each state."""
        return Counter(self._members.get(queue, {}).values())

    def flush(
        self, queue: str, tags: Mapping[str, str], common: Mapping[str, int], *, now: bool, add: Add
    ) -> None:
        """Add the points of a queue's agents and reset the counts.

        States are written if `now` is set; `tags` and `common` fields are in all points.
        """
        if now:
            states = self.states(queue)
            for state in AgentState:
                fields = {"count": states[state], **common}
                add(AGENTS.name, {**tags, "state": state.value}, fields)
        for interface, name in sorted(self._names.items()):
            counts = self._counts.pop((queue, interface), None)
            current = self._members.get(queue, {}).get(interface) if now else None
            if counts is None and current is None:
                continue
            counts = counts or Counter()
            own: dict[str, int | float | str] = {
                "answered": counts["answered"],
                "unanswered": counts["unanswered"],
                "talk_sum": counts["talk_ns"] / NS_PER_S,
                **common,
            }
            if current is not None:
                own["status"] = current.value
            add(AGENTS.name, {**tags, "agent": name}, own)
