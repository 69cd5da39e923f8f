"""Finds rows in a damaged memory by the types of their columns, since its schema may be lost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from collector.memory.records import Action, State
from collector.sqlite.carve import Carved, Value

_NAME: Final = re.compile(r"[0-9a-f]{16}")

Rows = dict[str, list[tuple[Value, ...]]]
"""Rows by table name."""


def salvaged(path: Path) -> Rows:
    """Return the rows that can still be read, by table."""
    found: Rows = {}
    try:
        with Carved(path) as carved:
            for number, values in carved.rows(lambda _types: True):
                if (one := _row(number, values)) is not None:
                    table, row = one
                    found.setdefault(table, []).append(row)
    except OSError:
        # Not one page can be read.
        return found
    return found


def _row(number: int, values: tuple[Value, ...]) -> tuple[str, tuple[Value, ...]] | None:
    match values:
        case (str(owner), "opt-out" | "opt-in", int(), int()) if _is_name(owner):
            # Stored as "not in InfluxDB", so that they are sent again: it may lack some.
            return "owner_choices", (*values[:3], 0)
        case (None, int(), str(server), str(action), str(state), int(), str(), str(), int()):
            if (not server or _is_name(server)) and action in [*Action] and state in [*State]:
                return "erasures", (number, *values[1:])
        case (None, str(owner), str()) if _is_name(owner):
            return "erasure_notices", (number, *values[1:])
        case (str(owner), int()) if not number and _is_name(owner):
            return "erased", values
        case (str(), str(), int(), 0 | 1) if not number:
            return "tag_values", values
        case (str(), str(), bytes(), int()) if not number:
            return "tag_sightings", values
    return None


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None
