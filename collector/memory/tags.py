"""Values of tags: those that are held, and who said one that is not firm."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b
from typing import Final

from collector.memory.store import Table, operation
from collector.privacy import ServerPseudonym
from collector.schema import OTHER
from collector.tag_budget import Change, Freed, Sighting, TagValue

_MOST_SIGHTINGS: Final = 20_000
"""Sightings of one tag: past that some go, so that made-up values cannot fill the disk."""
_DIGEST: Final = 8


class TagsTable(Table):
    """The values of all tags, for all workers of a state directory."""

    @operation
    def values(self, database: sqlite3.Connection) -> list[TagValue]:
        """Every value that is held."""
        rows = database.execute("SELECT * FROM tag_values ORDER BY tag, value").fetchall()
        return [TagValue(tag, value, day, bool(firm)) for tag, value, day, firm in rows]

    @operation
    def keep(self, database: sqlite3.Connection, changes: Iterable[Change]) -> None:
        """Remember changes of a budget; of a value the latest day, of a sighting too."""
        said = set()
        for change in changes:
            match change:
                case TagValue():
                    admit(database, [change])
                case Sighting(tag, value, server, day):
                    said.add(tag)
                    database.execute(
                        "INSERT INTO tag_sightings VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
                        " SET day = max(day, excluded.day)",
                        (tag, value, _sayer(tag, value, server), day),
                    )
                case Freed(tag, value):
                    database.execute(
                        "DELETE FROM tag_values WHERE tag = ? AND value = ?", (tag, value)
                    )
        for tag in said:
            # Who said a value that is held is asked before one server is let hold more.
            database.execute(
                "DELETE FROM tag_sightings WHERE tag = ?1 AND (value, sayer) IN"
                " (SELECT value, sayer FROM tag_sightings WHERE tag = ?1"
                " ORDER BY value IN (SELECT value FROM tag_values WHERE tag = ?1) DESC,"
                " day DESC, value, sayer LIMIT -1 OFFSET ?2)",
                (tag, _MOST_SIGHTINGS),
            )

    @operation
    def take_back(
        self,
        database: sqlite3.Connection,
        said: Mapping[str, Collection[str]],
        gone: Mapping[str, Collection[str]],
    ) -> int:
        """Take back what reports that do not count any more did for values, by tag.

        Who said the values `said` is forgotten; where `other` is among them, who said any value
        that waits. The values `gone` lose their places, the rest of `said` stays open. How many
        lost theirs. Twice is as once.
        """
        freed = 0
        for tag, values in said.items():
            named = [(tag, value) for value in values]
            lost = [(tag, value) for value in gone.get(tag, ())]
            freed += (
                database.executemany(
                    "DELETE FROM tag_values WHERE tag = ? AND value = ?", lost
                ).rowcount
                if lost
                else 0
            )
            database.executemany(
                "UPDATE tag_values SET firm = 0 WHERE tag = ? AND value = ?", named
            )
            database.executemany("DELETE FROM tag_sightings WHERE tag = ? AND value = ?", named)
            if OTHER in values:
                database.execute(
                    "DELETE FROM tag_sightings WHERE tag = ?1"
                    " AND value NOT IN (SELECT value FROM tag_values WHERE tag = ?1)",
                    (tag,),
                )
        return freed

    @operation
    def forget(self, database: sqlite3.Connection, tag: str, values: Iterable[str]) -> int:
        """Forget values of a tag, and who said them; how many were held."""
        named = [(tag, value) for value in values]
        database.executemany("DELETE FROM tag_sightings WHERE tag = ? AND value = ?", named)
        return database.executemany(
            "DELETE FROM tag_values WHERE tag = ? AND value = ?", named
        ).rowcount

    @operation
    def forget_before(self, database: sqlite3.Connection, *, values: int, sightings: int) -> None:
        """Forget values, and sightings, last said before these days."""
        database.execute("DELETE FROM tag_values WHERE day < ?", (values,))
        database.execute("DELETE FROM tag_sightings WHERE day < ?", (sightings,))

    @operation
    def server_counts(
        self, database: sqlite3.Connection, *, since_day: int = 0
    ) -> dict[tuple[str, str], int]:
        """Number of servers that reported each value since a day, by tag and value."""
        rows = database.execute(
            "SELECT tag, value, count(*) FROM tag_sightings WHERE day >= ? GROUP BY tag, value",
            (since_day,),
        ).fetchall()
        return {(tag, value): count for tag, value, count in rows}


def admit(database: sqlite3.Connection, values: Iterable[TagValue]) -> None:
    """Keep values as held, within a transaction; of each the latest day. Firm ones stay firm."""
    for item in values:
        database.execute(
            "INSERT INTO tag_values VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET day = max(day, excluded.day), firm = max(firm, excluded.firm)",
            (item.tag, item.value, item.day, item.firm),
        )
        if item.firm:
            database.execute(
                "DELETE FROM tag_sightings WHERE tag = ? AND value = ?", (item.tag, item.value)
            )


def forget_sayer(database: sqlite3.Connection, server: ServerPseudonym) -> None:
    """Forget what a server said, within a transaction."""
    rows = database.execute("SELECT tag, value, sayer FROM tag_sightings").fetchall()
    database.executemany(
        "DELETE FROM tag_sightings WHERE tag = ? AND value = ? AND sayer = ?",
        [row for row in rows if row[2] == _sayer(row[0], row[1], server)],
    )


def _sayer(tag: str, value: str, server: str) -> bytes:
    """A digest that counts servers of one value, and links none across values."""
    said = f"{tag}\n{value}\n{server}".encode()
    return blake2b(said, digest_size=_DIGEST, person=b"collector-sayer").digest()
