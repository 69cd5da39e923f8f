"""One gauge and its certainty. Pure."""

from __future__ import annotations

import json

from collector.intakes.series import Series
from collector.intakes.statsd.names import Role


class Gauge:
    """A gauge and its certainty.

    `since` is the time in ns since which it is uncertain; 0: it is right. `is_set` is whether it
    was ever set rather than changed, `signed` whether it was set to a negative value on purpose,
    `total` whether it is the count of all endpoints, `stored` whether its points are stored: false
    if a rule drops its name. `name` and `tags` are as sent, for another mapping; `name` is empty if
    no rule can match it.
    """

    __slots__ = (
        "changed", "field", "heard", "is_set", "name", "role", "series", "set_to_0", "signed",
        "since", "stored", "tags", "total", "value",
    )  # fmt: skip

    def __init__(
        self, series: Series, field: str, role: Role, *, total: bool = False, stored: bool = True
    ) -> None:
        self.series = series
        self.field = field
        self.role = role
        self.total = total
        self.stored = stored
        self.name = ""
        self.tags: tuple[tuple[str, str], ...] = ()
        self.value = 0.0
        self.since = 0
        self.is_set = False
        self.signed = False
        self.heard = 0
        self.set_to_0 = 0
        self.changed = False

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
