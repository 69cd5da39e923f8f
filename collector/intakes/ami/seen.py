"""Traffic counts of a client of the manager interface between two flushes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields, replace


@dataclass(slots=True)
class Seen:
    """Counts since the last `take`.

    `received` are bytes, `events` wanted events by name, `unwanted` all other events, `drops`
    dropped messages by reason, `logins` successful ones, `ends` connections and attempts that ended
    by reason, `refused` questions by action.
    """

    received: int = 0
    events: Counter[str] = field(default_factory=Counter)
    unwanted: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    logins: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def take(self) -> Seen:
        """Return the counts and reset them."""
        taken, anew = replace(self), Seen()
        for each in fields(self):
            setattr(self, each.name, getattr(anew, each.name))
        return taken
