"""Counts of what a client of the manager interface has seen, until its intake takes them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields, replace


@dataclass(slots=True)
class Seen:
    """Counts since they were last taken.

    `received` bytes; wanted `events` by name, and `unwanted` ones; `drops` by reason; `logins` that
    succeeded; `ends` of connections and attempts, by reason; `refused` questions, by action.
    """

    received: int = 0
    events: Counter[str] = field(default_factory=Counter)
    unwanted: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    logins: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def take(self) -> Seen:
        """The counts, which begin anew."""
        taken, anew = replace(self), Seen()
        for each in fields(self):
            setattr(self, each.name, getattr(anew, each.name))
        return taken
