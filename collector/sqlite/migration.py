"""Pragmas and migration of the files that must survive a power cut: the outbox and the memory.

The version of a file is SQLite's `user_version`, 0 for a new one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from collector.sqlite.errors import StoreUnavailable


def set_pragmas(
    database: sqlite3.Connection, path: Path, *, newest: int, secure_delete: str
) -> int:
    """Set the pragmas of a connection and return the version of its file.

    `secure_delete` is ON or FAST: whether free pages are overwritten too. Raises StoreUnavailable
    for a version over `newest`, before anything is changed, and SQLite's errors.
    """
    version = version_of(database)
    if version > newest:
        raise StoreUnavailable(
            f"{path} is of version {version}, newer than this one's ({newest}): install the"
            " collector that wrote it, or one after it"
        )
    for pragma in (
        "auto_vacuum=INCREMENTAL",
        "journal_mode=WAL",
        "synchronous=FULL",
        f"secure_delete={secure_delete}",
    ):
        database.execute(f"PRAGMA {pragma}").fetchall()
    return version


def migrate(
    database: sqlite3.Connection, steps: Mapping[int, Sequence[str]], *, newest: int
) -> None:
    """Bring a file to the newest version, each step in a transaction of its own.

    `steps` gives, by the version that a file has, the statements that lead to the next version;
    from 0 they lead to the newest one. Another process may do the same at the same time.
    """
    while (version := version_of(database)) < newest:
        database.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have done this step meanwhile.
            if version_of(database) == version:
                for statement in steps[version]:
                    database.execute(statement)
                database.execute(f"PRAGMA user_version={version + 1 if version else newest}")
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")


def tables(database: sqlite3.Connection) -> set[str]:
    """Return the names of a file's tables."""
    return {name for (name,) in database.execute("SELECT name FROM sqlite_master").fetchall()}


def version_of(database: sqlite3.Connection) -> int:
    """Return the version of a file; 0 for a new one."""
    (value,) = database.execute("PRAGMA user_version").fetchone()
    return int(value)
