"""Tables of the outbox's file, and its migrations from earlier versions.

The version is SQLite's `user_version`. Each step of `_STEPS` migrates from its version to the next,
in place and in one transaction; step 0 makes the tables of the current version.

Versions 1 and 2 also held tables that the memory holds now (`LEGACY`). They stay in the file until
`collector.upgrade` has moved their rows.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from collector.outbox.errors import OutboxDamaged, OutboxUnavailable
from collector.sqlite.migration import migrate, set_pragmas, tables

VERSION: Final = 3
_ENTRIES: Final = """
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    received_ns INTEGER NOT NULL,
    server TEXT NOT NULL,
    points INTEGER NOT NULL,
    lines BLOB NOT NULL,
    checksum INTEGER,
    target TEXT NOT NULL DEFAULT 'usage_raw',
    sender TEXT NOT NULL DEFAULT 'asl'
);
CREATE TABLE cursor (one INTEGER PRIMARY KEY CHECK (one = 1), delivered_id INTEGER NOT NULL);
INSERT INTO cursor VALUES (1, 0);
CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    received_ns INTEGER NOT NULL,
    server TEXT NOT NULL,
    line BLOB NOT NULL,
    reason TEXT NOT NULL,
    set_aside_ns INTEGER NOT NULL,
    target TEXT NOT NULL DEFAULT 'usage_raw',
    sender TEXT NOT NULL DEFAULT 'asl'
)
"""
_STEPS: Final = {
    0: _ENTRIES,
    # Entries of version 1 have no checksum.
    1: "ALTER TABLE entries ADD COLUMN checksum INTEGER",
    2: """
ALTER TABLE entries ADD COLUMN target TEXT NOT NULL DEFAULT 'usage_raw';
ALTER TABLE entries ADD COLUMN sender TEXT NOT NULL DEFAULT 'asl';
ALTER TABLE dead_letters ADD COLUMN target TEXT NOT NULL DEFAULT 'usage_raw';
ALTER TABLE dead_letters ADD COLUMN sender TEXT NOT NULL DEFAULT 'asl'
""",
}
TABLES: Final = frozenset({"entries", "cursor", "dead_letters"})

LEGACY: Final = {
    "erasures": "id INTEGER PRIMARY KEY, asked_ns, server, action, state, until_ns, found, plan",
    "owner_choices": "owner TEXT PRIMARY KEY, choice, at_ns, told",
    "erasure_notices": "at_ns INTEGER PRIMARY KEY, owner, days",
    "erased": "owner TEXT PRIMARY KEY, at_ns",
    "tag_values": "tag, value, day",
}
"""Tables of versions 1 and 2 that moved to the memory: name and columns."""


def prepare(database: sqlite3.Connection, path: Path) -> None:
    """Set the pragmas of a connection and migrate its file to the current version.

    Raises OutboxUnavailable for a newer version, OutboxDamaged for a file that is no outbox, and
    SQLite's errors.
    """
    # Deleted rows are overwritten with zeros; vacuuming returns free pages to the disk.
    version = set_pragmas(
        database, path, newest=VERSION, secure_delete="FAST", unavailable=OutboxUnavailable
    )
    if version and not tables(database) >= TABLES:
        raise OutboxDamaged(f"{path} is no outbox: it lacks tables")
    steps = {version: statements.split(";") for version, statements in _STEPS.items()}
    migrate(database, steps, newest=VERSION)
