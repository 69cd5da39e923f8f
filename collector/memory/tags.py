"""Values of tags: those that are admitted, and who said one that is not yet."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from collector.admission import TagValue
from collector.memory.records import Sighting
from collector.memory.store import Table, operation
from collector.privacy import ServerPseudonym

_MOST_SIGHTINGS: Final = 20_000
"""Sightings of one tag: past that the oldest go, so that made-up values cannot fill the disk."""
_DIGEST: Final = 8


class TagsTable(Table):
    """The values of all tags, for all workers of a state directory."""

    @operation
    def values(self, database: sqlite3.Connection) -> list[TagValue]:
        """Every admitted value, with the last day on which it was said."""
        rows = database.execute("SELECT tag, value, day FROM tag_values ORDER BY tag, value")
        return [TagValue(*row) for row in rows.fetchall()]

    @operation
    def admit(self, database: sqlite3.Connection, values: Iterable[TagValue]) -> None:
        """Keep values as admitted, and the last day of those that are; their sightings go."""
        admit(database, values)

    @operation
    def forget(self, database: sqlite3.Connection, tag: str, values: Iterable[str]) -> int:
        """Forget values of a tag, and who said them; how many were admitted."""
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
    def say(self, database: sqlite3.Connection, sightings: Iterable[Sighting]) -> None:
        """Remember that servers said values; the same again changes only its day."""
        tags = set()
        for one in sightings:
            tags.add(one.tag)
            database.execute(
                "INSERT INTO tag_sightings VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET day = max(day, excluded.day)",
                (one.tag, one.value, _sayer(one.tag, one.value, one.server), one.day),
            )
        for tag in tags:
            database.execute(
                "DELETE FROM tag_sightings WHERE tag = ?1 AND (tag, value, sayer) IN"
                " (SELECT tag, value, sayer FROM tag_sightings WHERE tag = ?1"
                " ORDER BY day DESC, value, sayer LIMIT -1 OFFSET ?2)",
                (tag, _MOST_SIGHTINGS),
            )

    @operation
    def sayers(
        self, database: sqlite3.Connection, *, since_day: int = 0
    ) -> dict[tuple[str, str], int]:
        """How many different servers said each value since a day, by tag and value."""
        rows = database.execute(
            "SELECT tag, value, count(*) FROM tag_sightings WHERE day >= ? GROUP BY tag, value",
            (since_day,),
        ).fetchall()
        return {(tag, value): count for tag, value, count in rows}


def admit(database: sqlite3.Connection, values: Iterable[TagValue]) -> None:
    """Keep values as admitted within a transaction; of each the latest day."""
    admitted = list(values)
    database.executemany(
        "INSERT INTO tag_values VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
        " SET day = max(day, excluded.day)",
        [(item.tag, item.value, item.day) for item in admitted],
    )
    database.executemany(
        "DELETE FROM tag_sightings WHERE tag = ? AND value = ?",
        [(item.tag, item.value) for item in admitted],
    )


def forget_sayer(database: sqlite3.Connection, server: ServerPseudonym) -> None:
    """Forget what a server said, within a transaction."""
    rows = database.execute("SELECT tag, value, sayer FROM tag_sightings").fetchall()
    database.executemany(
        "DELETE FROM tag_sightings WHERE tag = ? AND value = ? AND sayer = ?",
        [row for row in rows if row[2] == _sayer(row[0], row[1], server)],
    )


def _sayer(tag: str, value: str, server: ServerPseudonym) -> bytes:
    """A digest that counts servers of one value, and links none across values."""
    said = f"{tag}\n{value}\n{server}".encode()
    return blake2b(said, digest_size=_DIGEST, person=b"collector-sayer").digest()
