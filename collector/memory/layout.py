"""Tables of the memory's file. The version is SQLite's `user_version`."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from collector.memory.errors import MemoryDamaged, MemoryUnavailable

VERSION: Final = 1
_TABLES: Final = {
    "owner_choices": """(
        owner TEXT PRIMARY KEY, choice TEXT NOT NULL, at_ns INTEGER NOT NULL, told INTEGER NOT NULL
    ) WITHOUT ROWID""",
    "erasures": """(
        id INTEGER PRIMARY KEY AUTOINCREMENT, asked_ns INTEGER NOT NULL, server TEXT NOT NULL,
        action TEXT NOT NULL, state TEXT NOT NULL, until_ns INTEGER NOT NULL, found TEXT NOT NULL,
        plan TEXT NOT NULL, delayed INTEGER NOT NULL DEFAULT 0
    )""",
    # When erasures were accepted, for the hourly limit.
    "let_through": "(at_ns INTEGER NOT NULL)",
    "erasure_notices": "(at_ns INTEGER PRIMARY KEY, owner TEXT NOT NULL, days TEXT NOT NULL)",
    # Time up to which an owner's reports are erased: a recovered outbox may still hold some.
    "erased": "(owner TEXT PRIMARY KEY, at_ns INTEGER NOT NULL) WITHOUT ROWID",
    # Values that have a place in a tag's budget: the last day of each, and whether it is firm.
    "tag_values": """(
        tag TEXT NOT NULL, value TEXT NOT NULL, day INTEGER NOT NULL, firm INTEGER NOT NULL,
        PRIMARY KEY (tag, value)
    ) WITHOUT ROWID""",
    # Servers that reported a value that is not firm, as digests of server, tag and value.
    "tag_sightings": """(
        tag TEXT NOT NULL, value TEXT NOT NULL, sayer BLOB NOT NULL, day INTEGER NOT NULL,
        PRIMARY KEY (tag, value, sayer)
    ) WITHOUT ROWID""",
}


def prepare(database: sqlite3.Connection, path: Path) -> None:
    """Set a connection's pragmas, and make the tables of a new file.

    Raises MemoryUnavailable for a newer version, MemoryDamaged for a file that is no memory, and
    SQLite's errors.
    """
    version = _version(database)
    if version > VERSION:
        raise MemoryUnavailable(
            f"{path} is of version {version}, newer than this one's ({VERSION}): install the"
            " collector that wrote it, or one after it"
        )
    for pragma in (
        "auto_vacuum=INCREMENTAL",
        "journal_mode=WAL",
        "synchronous=FULL",
        "secure_delete=ON",
    ):
        database.execute(f"PRAGMA {pragma}").fetchall()
    if version == 0:
        _make(database)
    found = {name for (name,) in database.execute("SELECT name FROM sqlite_master").fetchall()}
    if not found >= _TABLES.keys():
        raise MemoryDamaged(f"{path} is no memory: it lacks tables")


def _make(database: sqlite3.Connection) -> None:
    database.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have made the tables meanwhile.
        if _version(database) == 0:
            for name, columns in _TABLES.items():
                database.execute(f"CREATE TABLE {name} {columns}")
            database.execute(f"PRAGMA user_version={VERSION}")
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _version(database: sqlite3.Connection) -> int:
    (value,) = database.execute("PRAGMA user_version").fetchone()
    return int(value)
