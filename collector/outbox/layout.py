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

from collector.outbox import dating
from collector.outbox.errors import OutboxDamaged
from collector.outbox.queues import INDEX, Queue
from collector.sqlite.migration import migrate, set_pragmas, tables

VERSION: Final = 4
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
_CURSORS: Final = f"""
CREATE TABLE cursors (
    queue TEXT PRIMARY KEY,
    delivered_id INTEGER NOT NULL,
    sent_id INTEGER NOT NULL,
    pruned_id INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO cursors VALUES {", ".join(f"('{queue}', 0, 0, 0)" for queue in Queue)};
CREATE TABLE pruned (id INTEGER PRIMARY KEY);
{INDEX}
"""  # noqa: S608 - constants
_STEPS: Final = {
    0: f"{_ENTRIES};{_CURSORS};{dating.SCHEMA}",
    # Entries of version 1 have no checksum.
    1: "ALTER TABLE entries ADD COLUMN checksum INTEGER",
    2: """
ALTER TABLE entries ADD COLUMN target TEXT NOT NULL DEFAULT 'usage_raw';
ALTER TABLE entries ADD COLUMN sender TEXT NOT NULL DEFAULT 'asl';
ALTER TABLE dead_letters ADD COLUMN target TEXT NOT NULL DEFAULT 'usage_raw';
ALTER TABLE dead_letters ADD COLUMN sender TEXT NOT NULL DEFAULT 'asl'
""",
    # Only the loop to InfluxDB has a cursor in version 3, and the clock's row its `sent_id`.
    3: f"""
CREATE TABLE IF NOT EXISTS clock (
    one INTEGER PRIMARY KEY CHECK (one = 1), boot TEXT NOT NULL, offset_ns INTEGER NOT NULL,
    since_id INTEGER NOT NULL, marks TEXT NOT NULL, sent_id INTEGER NOT NULL DEFAULT 0
);
{_CURSORS};
UPDATE cursors SET delivered_id = (SELECT delivered_id FROM cursor),
    sent_id = coalesce((SELECT sent_id FROM clock), 0) WHERE queue = '{Queue.INFLUX}';
DROP TABLE cursor;
ALTER TABLE clock DROP COLUMN sent_id;
{dating.SCHEMA}
""",  # noqa: S608 - constants
}
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

    Raises StoreUnavailable for a newer version, OutboxDamaged for a file that is no outbox, and
    SQLite's errors.
    """
    # Deleted rows are overwritten with zeros; vacuuming returns free pages to the disk.
    version = set_pragmas(database, path, newest=VERSION, secure_delete="FAST")
    cursors = "cursors" if version >= 4 else "cursor"
    if version and not tables(database) >= {"entries", "dead_letters", cursors}:
        raise OutboxDamaged(f"{path} is no outbox: it lacks tables")
    steps = {version: statements.split(";") for version, statements in _STEPS.items()}
    migrate(database, steps, newest=VERSION)
