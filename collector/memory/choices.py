"""The table of owners' choices: opted out (reports are dropped) or opted in."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from collector.memory.records import Choice
from collector.memory.store import Table, operation
from collector.privacy import OwnerMark


class ChoicesTable(Table):
    """The latest choice of each owner, and whether it is stored in InfluxDB too (`synced`)."""

    @operation
    def keep(self, database: sqlite3.Connection, *choices: Choice, synced: bool) -> None:
        """Store choices, except those for whose owner a later one is stored."""
        keep(database, choices, synced=synced)

    @operation
    def all(self, database: sqlite3.Connection, *, unsynced: bool = False) -> list[Choice]:
        """Return all choices, or only those not yet stored in InfluxDB (`unsynced`)."""
        where = " WHERE NOT told" if unsynced else ""
        rows = database.execute(
            f"SELECT owner, choice, at_ns FROM owner_choices{where}"  # noqa: S608 - a constant
        ).fetchall()
        return [Choice(OwnerMark(owner), said == "opt-out", at) for owner, said, at in rows]

    @operation
    def mark_unsynced(self, database: sqlite3.Connection, *, since_ns: int) -> None:
        """Mark choices made since a time as not stored in InfluxDB, after a restore of it."""
        database.execute("UPDATE owner_choices SET told = 0 WHERE at_ns >= ?", (since_ns,))


def keep(database: sqlite3.Connection, choices: Iterable[Choice], *, synced: bool) -> None:
    """Store choices, except those for whose owner a later one is stored. In a transaction."""
    database.executemany(
        "INSERT INTO owner_choices VALUES (?, ?, ?, ?) ON CONFLICT (owner) DO UPDATE"
        " SET choice = excluded.choice, at_ns = excluded.at_ns, told = excluded.told"
        " WHERE excluded.at_ns > at_ns OR (excluded.at_ns = at_ns AND excluded.told)",
        [
            (choice.owner, "opt-out" if choice.out else "opt-in", choice.at_ns, synced)
            for choice in choices
        ],
    )
