"""The tables of the outbox's file, and how a file of an earlier version becomes one of this.

A version is the file's `user_version`. A step of `_STEPS` leads from its version to the next, from
0 (nothing) to this one, in place and in one transaction.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from collector.outbox import owners
from collector.outbox.errors import OutboxDamaged, OutboxUnavailable

VERSION: Final = 2
_ENTRIES: Final = """
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    received_ns INTEGER NOT NULL,
    server TEXT NOT NULL,
    points INTEGER NOT NULL,
    lines BLOB NOT NULL,
    checksum INTEGER
);
CREATE TABLE cursor (one INTEGER PRIMARY KEY CHECK (one = 1), delivered_id INTEGER NOT NULL);
INSERT INTO cursor VALUES (1, 0);
CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    received_ns INTEGER NOT NULL,
    server TEXT NOT NULL,
    line BLOB NOT NULL,
    reason TEXT NOT NULL,
    set_aside_ns INTEGER NOT NULL
);
CREATE TABLE tag_values (
    tag TEXT NOT NULL, value TEXT NOT NULL, day INTEGER NOT NULL, PRIMARY KEY (tag, value)
) WITHOUT ROWID;
"""
_STEPS: Final = {
    0: _ENTRIES + owners.SCHEMA + owners.ERASED,
    # Entries of version 1 have no checksum.
    1: "ALTER TABLE entries ADD COLUMN checksum INTEGER;" + owners.ERASED,
}
TABLES: Final = frozenset(
    {"entries", "cursor", "dead_letters", "tag_values"} | {"erasures", "owner_choices"}
)


def prepare(database: sqlite3.Connection, path: Path) -> None:
    """Give a connection our pragmas, and the file the tables of this version.

    Raises OutboxUnavailable for a newer version, OutboxDamaged for what is no outbox, and
    SQLite's errors.
    """
    for pragma in (
        "auto_vacuum=INCREMENTAL",
        "journal_mode=WAL",
        "synchronous=FULL",
        # Deleted rows leave zeros in their pages; free pages are given back to the disk.
        "secure_delete=FAST",
    ):
        database.execute(f"PRAGMA {pragma}").fetchall()
    version = _version(database)
    if version > VERSION:
        raise OutboxUnavailable(
            f"{path} is of version {version}, newer than this one's ({VERSION}): install the"
            " collector that wrote it, or one after it"
        )
    while version < VERSION:
        _step(database, version)
        version = _version(database)
    found = {name for (name,) in database.execute("SELECT name FROM sqlite_master").fetchall()}
    if not found >= TABLES:
        raise OutboxDamaged(f"{path} is no outbox: it lacks tables")


def _step(database: sqlite3.Connection, version: int) -> None:
    database.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been at the same.
        if _version(database) == version:
            for statement in _STEPS[version].split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA user_version={version + 1 if version else VERSION}")
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _version(database: sqlite3.Connection) -> int:
    (value,) = database.execute("PRAGMA user_version").fetchone()
    return int(value)
