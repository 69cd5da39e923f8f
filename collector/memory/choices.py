"""Owners' choices: whose reports are dropped."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from collector.memory.records import Choice
from collector.memory.store import Table, operation
from collector.privacy import OwnerMark


class ChoicesTable(Table):
    """The latest choice of each owner, and whether InfluxDB has it (`told`)."""

    @operation
    def keep(self, database: sqlite3.Connection, *choices: Choice, told: bool) -> None:
        """Keep choices, each unless a later one of its owner is kept."""
        keep(database, choices, told=told)

    @operation
    def all(self, database: sqlite3.Connection, *, untold: bool = False) -> list[Choice]:
        """Every owner's choice, or those that InfluxDB does not have yet."""
        where = " WHERE NOT told" if untold else ""
        rows = database.execute(
            f"SELECT owner, choice, at_ns FROM owner_choices{where}"  # noqa: S608 - a constant
        ).fetchall()
        return [Choice(OwnerMark(owner), said == "opt-out", at) for owner, said, at in rows]

    @operation
    def tell_again(self, database: sqlite3.Connection, *, since_ns: int) -> None:
        """Take choices made since a time for untold: InfluxDB was restored from a backup."""
        database.execute("UPDATE owner_choices SET told = 0 WHERE at_ns >= ?", (since_ns,))


def keep(database: sqlite3.Connection, choices: Iterable[Choice], *, told: bool) -> None:
    """Keep choices within a transaction, each unless a later one of its owner is kept."""
    database.executemany(
        "INSERT INTO owner_choices VALUES (?, ?, ?, ?) ON CONFLICT (owner) DO UPDATE"
        " SET choice = excluded.choice, at_ns = excluded.at_ns, told = excluded.told"
        " WHERE excluded.at_ns > at_ns OR (excluded.at_ns = at_ns AND excluded.told)",
        [
            (choice.owner, "opt-out" if choice.out else "opt-in", choice.at_ns, told)
            for choice in choices
        ],
    )
