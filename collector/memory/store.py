"""Opens the memory's file for one transaction at a time, and replaces a damaged file.

Each operation opens its own connection, so an idle process holds no lock and a damaged file can be
replaced while other processes run. SQLite deletes its log with the last connection.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

import structlog

from collector.memory import layout
from collector.memory.errors import MemoryDamaged, MemoryUnavailable
from collector.memory.salvage import Rows, salvaged
from collector.sqlite.errors import raised_as
from collector.sqlite.lock import directory_lock, log_of, sync
from collector.sqlite.search import holds

log = structlog.get_logger("collector.memory")

_BUSY_S: Final = 30
_ABSENT: Final = (0, 0, 0)

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Content:
    """Kind of a file's content: functions to prepare and salvage it, and the log message of a loss.

    `counted` are tables whose salvaged rows the log counts.
    """

    prepare: Callable[[sqlite3.Connection, Path], None]
    salvaged: Callable[[Path], Rows]
    loss: str
    counted: Sequence[str] = ()


_MEMORY: Final = Content(
    layout.prepare,
    salvaged,
    "the memory is damaged: it is set aside and a new one begun. Choices come back from InfluxDB"
    " and from running workers; an erasure that waited and is not among `erasures` is lost",
    ("owner_choices", "erasures"),
)


class Store:
    """An SQLite file at `path`; its default `content` is the memory.

    Its directory contains only such files, and is created if missing.
    """

    def __init__(self, path: Path, content: Content = _MEMORY) -> None:
        self.path = path
        self._content = content

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection in one transaction: at its end all changes are on disk, or none.

        Raises MemoryDamaged, MemoryUnavailable.
        """
        with _named(), self._held():
            if not self.path.exists():
                self._finish()
            with closing(self._connected(self.path)) as database, database:
                database.execute("BEGIN IMMEDIATE")
                yield database

    def stamp(self) -> object:
        """Return a value that differs after each change of the file. Never waits for a lock.

        Raises MemoryUnavailable if the file cannot be examined.
        """
        with _named():
            return _seen(self.path), _seen(log_of(self.path))[1:]

    def scrub(self, *traces: bytes) -> bool:
        """Remove remains of deleted rows; return whether the disk is free of these byte strings.

        Raises MemoryDamaged, MemoryUnavailable.
        """
        with _named(), self._held():
            if not holds(self.path, traces):
                return True
            # Remains of rows moved within a page belong to no row: only VACUUM removes them.
            with closing(self._connected(self.path)) as database:
                database.execute("VACUUM")
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return not holds(self.path, traces)

    def set_aside(self, why: str) -> None:
        """Rename a damaged file, and start a new one with the rows that can still be read.

        Does nothing if another process has just done so. Raises MemoryUnavailable.
        """
        directory = self.path.parent
        with _named(), directory_lock(directory, exclusive=True):
            if self._is_whole():
                return
            fresh, draft = _fresh(self.path), self.path.with_name(f"{self.path.name}.draft")
            draft.unlink(missing_ok=True)
            rows = self._content.salvaged(self.path)
            draft.touch(mode=0o600)
            with closing(self._connected(draft)) as database:
                with database:
                    for table, found in rows.items():
                        marks = ",".join("?" * len(found[0]))
                        database.executemany(
                            f"INSERT OR REPLACE INTO {table} VALUES ({marks})",  # noqa: S608
                            found,
                        )
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            draft.replace(fresh)
            at = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
            aside = self.path.with_name(f"{self.path.name}.damaged-{at}")
            log_file = log_of(self.path)
            if log_file.exists():
                log_file.replace(log_of(aside))
            Path(f"{self.path}-shm").unlink(missing_ok=True)
            self.path.replace(aside)
            self._finish()
        log.error(
            self._content.loss,
            reason="set-aside",
            file=aside,
            why=why,
            **{
                table.removeprefix("owner_"): len(rows.get(table, ()))
                for table in self._content.counted
            },
        )

    def _held(self) -> AbstractContextManager[None]:
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        return directory_lock(self.path.parent)

    def _is_whole(self) -> bool:
        try:
            with closing(self._connected(self.path)) as database:
                return database.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]
        except (sqlite3.Error, MemoryDamaged):
            return False

    def _connected(self, path: Path) -> sqlite3.Connection:
        # SQLite gives its log and index files the mode of the database file.
        path.touch(mode=0o600)
        database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        try:
            self._content.prepare(database, path)
        except BaseException:
            database.close()
            raise
        return database

    def _finish(self) -> None:
        """Move a complete new file into place, also after a crash."""
        fresh = _fresh(self.path)
        if fresh.exists() and not self.path.exists():
            fresh.replace(self.path)
        sync(self.path.parent)


class Table:
    """Base class of a group of tables. Each method decorated with `operation` is a transaction."""

    def __init__(self, store: Store) -> None:
        self.store = store


S = TypeVar("S", bound=Table)


def operation(
    work: Callable[Concatenate[S, sqlite3.Connection, P], T],
) -> Callable[Concatenate[S, P], T]:
    """Decorate a method so that it runs in a transaction and gets the connection from it.

    The method then blocks, and raises MemoryUnavailable. If the file is damaged, it is set aside
    and the method runs again on the new file.
    """

    @functools.wraps(work)
    def done(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with self.store.transaction() as database:
                return work(self, database, *args, **kwargs)
        except MemoryDamaged as error:
            self.store.set_aside(str(error))
        with self.store.transaction() as database:
            return work(self, database, *args, **kwargs)

    return done


def _named() -> AbstractContextManager[None]:
    return raised_as("the memory", MemoryUnavailable, MemoryDamaged)


def _seen(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return _ABSENT
    # A reader creates an empty log and deletes it again, which is no change.
    return (found.st_ino, found.st_mtime_ns, found.st_size) if found.st_size else _ABSENT


def _fresh(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")
