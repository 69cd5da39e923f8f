"""Tables of the memory's file. The version is SQLite's `user_version`."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from collector.memory.errors import MemoryDamaged
from collector.sqlite.migration import migrate, set_pragmas, tables

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

    Raises StoreUnavailable for a newer version, MemoryDamaged for a file that is no memory, and
    SQLite's errors.
    """
    set_pragmas(database, path, newest=VERSION, secure_delete="ON")
    creation = [f"CREATE TABLE {name} {columns}" for name, columns in _TABLES.items()]
    migrate(database, {0: creation}, newest=VERSION)
    if not tables(database) >= _TABLES.keys():
        raise MemoryDamaged(f"{path} is no memory: it lacks tables")
