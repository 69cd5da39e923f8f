"""One gauge, and how far it can be believed. Pure."""

from __future__ import annotations

import json

from collector.intakes.series import Series
from collector.intakes.statsd.names import Role


class Gauge:
    """A gauge and how far it can be believed.

    `since` is when it began to be uncertain (ns; 0: it is right). `is_set` says that it has ever
    been set rather than changed, `signed` that it has been set to a negative value on purpose,
    `total` that it is the count of all endpoints. `stored` is false if a rule drops its name.
    """

    __slots__ = (
        "changed", "field", "heard", "is_set", "role", "series", "set_to_0", "signed", "since",
        "stored", "total", "value",
    )  # fmt: skip

    def __init__(
        self, series: Series, field: str, role: Role, *, total: bool = False, stored: bool = True
    ) -> None:
        self.series = series
        self.field = field
        self.role = role
        self.total = total
        self.stored = stored
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
        return json.dumps(
            [self.field, self.role.name, self.value, self.since, self.heard, *map(int, flags)]
        )

    @classmethod
    def restored(cls, series: Series, text: str) -> Gauge:
        """A gauge from its saved state."""
        field, role, value, since, heard, is_set, signed, total = json.loads(text)
        gauge = cls(series, field, Role[role], total=bool(total))
        gauge.value, gauge.since, gauge.heard = value, since, heard
        gauge.is_set, gauge.signed = bool(is_set), bool(signed)
        return gauge
