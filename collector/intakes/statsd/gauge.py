"""One gauge and its certainty. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass

from collector.intakes.series import Series
from collector.intakes.statsd.names import Role


@dataclass(eq=False, slots=True)
class Gauge:
    """A gauge and its certainty.

    `since` is the time in ns since which it is uncertain; 0: it is right. `is_set` is whether it
    was ever set rather than changed, `signed` whether it was set to a negative value on purpose,
    `total` whether it is the count of all endpoints, `stored` whether its points are stored: false
    if a rule drops its name. `name` and `tags` are as sent, for another mapping; `name` is empty if
    no rule can match it.
    """

    series: Series
    field: str
    role: Role
    total: bool = False
    stored: bool = True
    name: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    value: float = 0.0
    since: int = 0
    is_set: bool = False
    signed: bool = False
    heard: int = 0
    set_to_0: int = 0
    changed: bool = False

    def saved(self) -> str:
        """Its state as text, for the memory."""
        flags = (self.is_set, self.signed, self.total)
        state = (self.field, self.role.name, self.value, self.since, self.heard)
        return json.dumps([*state, *map(int, flags), self.name, self.tags])

    @classmethod
    def restored(cls, series: Series, text: str) -> Gauge:
        """The gauge of a saved state."""
        (field, role, value, since, heard, is_set, signed, total, name, tags) = json.loads(text)
        gauge = cls(series, field, Role[role], total=bool(total))
        gauge.value, gauge.since, gauge.heard = value, since, heard
        gauge.is_set, gauge.signed = bool(is_set), bool(signed)
        gauge.name, gauge.tags = name, tuple((key, value) for key, value in tags)
        return gauge
