"""Finds rows in a damaged memory by the types of their columns, since its schema may be lost."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from collector.memory.records import Action, State
from collector.privacy import is_pseudonym
from collector.sqlite.carve import Carved, Value

Rows = dict[str, list[tuple[Value, ...]]]
"""Rows by table name."""


def salvaged(path: Path) -> Rows:
    """Return the rows that can still be read, by table."""
    found: Rows = {}
    # An OSError means that not one page can be read.
    with suppress(OSError), Carved(path) as carved:
        for number, values in carved.rows():
            if (one := _row(number, values)) is not None:
                table, row = one
                found.setdefault(table, []).append(row)
    return found


def _row(number: int, values: tuple[Value, ...]) -> tuple[str, tuple[Value, ...]] | None:
    match values:
        case (str(owner), "opt-out" | "opt-in", int(), int()) if is_pseudonym(owner):
            # Stored as "not in InfluxDB", so that they are sent again: it may lack some.
            return "owner_choices", (*values[:3], 0)
        case (None, int(), str(server), str(action), str(state), int(), str(), str(), int()):
            if (not server or is_pseudonym(server)) and action in [*Action] and state in [*State]:
                return "erasures", (number, *values[1:])
        case (None, str(owner), str()) if is_pseudonym(owner):
            return "erasure_notices", (number, *values[1:])
        case (str(owner), int()) if not number and is_pseudonym(owner):
            return "erased", values
        case (str(), str(), int(), 0 | 1) if not number:
            return "tag_values", values
        case (str(), str(), bytes(), int()) if not number:
            return "tag_sightings", values
    return None
