"""Tables of tag values with a place in a tag's budget, and of sightings.

A sighting records that a server reported a value that is not firm yet.
"""

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
"""Most sightings of one tag. Older ones are deleted, so that made-up values cannot fill the
disk."""
_DIGEST: Final = 8


class TagsTable(Table):
    """Values and sightings of all tags, for all workers of a state directory."""

    @operation
    def values(self, database: sqlite3.Connection) -> list[TagValue]:
        """Return every value that has a place."""
        rows = database.execute("SELECT * FROM tag_values ORDER BY tag, value").fetchall()
        return [TagValue(tag, value, day, bool(firm)) for tag, value, day, firm in rows]

    @operation
    def keep(self, database: sqlite3.Connection, changes: Iterable[Change]) -> None:
        """Store changes of a budget. Of each value and each sighting the latest day counts."""
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
                        (tag, value, _reporter(tag, value, server), day),
                    )
                case Freed(tag, value):
                    database.execute(
                        "DELETE FROM tag_values WHERE tag = ? AND value = ?", (tag, value)
                    )
        for tag in said:
            # Sightings of values with a place go last: they limit how many one server may hold.
            database.execute(
                "DELETE FROM tag_sightings WHERE tag = ?1 AND (value, sayer) IN"
                " (SELECT value, sayer FROM tag_sightings WHERE tag = ?1"
                " ORDER BY value IN (SELECT value FROM tag_values WHERE tag = ?1) DESC,"
                " day DESC, value, sayer LIMIT -1 OFFSET ?2)",
                (tag, _MOST_SIGHTINGS),
            )

    @operation
    def discount(
        self,
        database: sqlite3.Connection,
        said: Mapping[str, Collection[str]],
        gone: Mapping[str, Collection[str]],
    ) -> int:
        """Undo the effect on values, by tag, of reports that no longer count; idempotent.

        Deletes the sightings of the values `said`, and, if `other` is among them, those of all
        values without a place. The values `gone` lose their places; the rest of `said` keep theirs
        but are no longer firm. Returns how many lost their places.
        """
        freed = 0
        for tag, values in said.items():
            named = [(tag, value) for value in values]
            lost = [(tag, value) for value in gone.get(tag, ())]
            freed += database.executemany(
                "DELETE FROM tag_values WHERE tag = ? AND value = ?", lost
            ).rowcount
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
        """Delete values of a tag and their sightings; return how many had a place."""
        named = [(tag, value) for value in values]
        database.executemany("DELETE FROM tag_sightings WHERE tag = ? AND value = ?", named)
        return database.executemany(
            "DELETE FROM tag_values WHERE tag = ? AND value = ?", named
        ).rowcount

    @operation
    def forget_server(self, database: sqlite3.Connection, server: ServerPseudonym) -> None:
        """Delete the sightings of a server."""
        forget_reporter(database, server)

    @operation
    def forget_before(self, database: sqlite3.Connection, *, values: int, sightings: int) -> None:
        """Delete values and sightings last reported before these days."""
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
    """Store values with a place; the latest day counts, firm stays firm. In a transaction."""
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


def forget_reporter(database: sqlite3.Connection, server: ServerPseudonym) -> None:
    """Delete the sightings of a server. In a transaction."""
    rows = database.execute("SELECT tag, value, sayer FROM tag_sightings").fetchall()
    database.executemany(
        "DELETE FROM tag_sightings WHERE tag = ? AND value = ? AND sayer = ?",
        [row for row in rows if row[2] == _reporter(row[0], row[1], server)],
    )


def _reporter(tag: str, value: str, server: str) -> bytes:
    """Return a digest that tells a value's servers apart without linking one across values."""
    said = f"{tag}\n{value}\n{server}".encode()
    return blake2b(said, digest_size=_DIGEST, person=b"collector-sayer").digest()
