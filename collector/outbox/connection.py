"""One connection to an outbox's file, on which the parts of `OutboxFile` build."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from collector.outbox import layout
from collector.outbox.dating import DatingTables
from collector.outbox.errors import translated_errors
from collector.sqlite.lock import directory_lock

_BUSY_S: Final = 30


class Connected:
    """An open connection to an outbox's file, which is made if missing; also a context manager.

    Every method and the constructor raise OutboxUnavailable if the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with translated_errors(), contextlib.ExitStack() as stack:
            stack.enter_context(directory_lock(path.parent))
            # SQLite gives its log and index files the mode of the database file.
            path.touch(mode=0o600)
            self._database = sqlite3.connect(
                path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            stack.callback(self._database.close)
            layout.prepare(self._database, path)
            self._identity = _identity(path)
            self.dating = DatingTables(self._database)
            self._opened = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        self._opened.close()

    @property
    def in_place(self) -> bool:
        """Whether the open file is still the one at its path, not moved away or replaced."""
        return _identity(self._path) == self._identity

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block in one transaction: at its end all changes are on disk, or none."""
        with translated_errors(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield

    def pragma(self, name: str) -> int:
        """Return the value of a pragma that is a number."""
        (value,) = self._database.execute(f"PRAGMA {name}").fetchone()
        return int(value)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
