"""The outbox's file: SQLite, WAL, synchronous=FULL.

Delivery moves a cursor; delivered entries stay for replay until they are old or the space is
needed. Entries are numbered without gaps, but for those an owner erased.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from collector.admission import TagValue
from collector.privacy import ServerPseudonym

FILE: Final = "outbox.sqlite3"
_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    received_ns INTEGER NOT NULL,
    server TEXT NOT NULL,
    points INTEGER NOT NULL,
    lines BLOB NOT NULL
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
_BUSY_S: Final = 30
_PRUNE_ROWS: Final = 2000
_RECENT: Final = 1000


class OutboxUnavailable(Exception):
    """Nothing can be stored now, or the file cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One report as it is stored: pseudonymous, its lines final and joined by newlines."""

    received_ns: int
    server: ServerPseudonym
    points: int
    lines: bytes
    tag_values: tuple[TagValue, ...] = ()


@dataclass(frozen=True, slots=True)
class Pending:
    """An entry on its way to InfluxDB."""

    id: int
    received_ns: int
    server: ServerPseudonym
    points: int
    lines: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A line that InfluxDB refused for good, and its words. Times are ns since 1970."""

    id: int
    received_ns: int
    server: ServerPseudonym
    line: bytes
    reason: str
    set_aside_ns: int


@dataclass(frozen=True, slots=True)
class Stats:
    """What an outbox holds: undelivered reports, the oldest one's time, dead letters, bytes."""

    reports: int
    oldest_ns: int | None
    dead_letters: int
    bytes: int


class OutboxFile:
    """One connection to an outbox, made where there is none. Close it, or use it as a context.

    Every method, the constructor too, raises OutboxUnavailable where the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _named():
            self._database = sqlite3.connect(
                path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._database.close()
                raise

    def _prepare(self) -> None:
        for pragma in ("auto_vacuum=INCREMENTAL", "journal_mode=WAL", "synchronous=FULL"):
            self._database.execute(f"PRAGMA {pragma}").fetchall()
        version = self._pragma("user_version")
        if version > _VERSION:
            raise OutboxUnavailable(f"{self._path} is of version {version}, newer than this one's")
        if version == 0:
            self._database.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={_VERSION};COMMIT;")
            self._path.chmod(0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is done inside is on disk at the end, or none of it."""
        with _named(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield

    def insert(self, entry: Entry) -> None:
        """Put an entry behind all others."""
        self._database.execute(
            "INSERT INTO entries (received_ns, server, points, lines) VALUES (?, ?, ?, ?)",
            (entry.received_ns, entry.server, entry.points, entry.lines),
        )
        if entry.tag_values:
            self._database.executemany(
                "INSERT INTO tag_values VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET day = excluded.day",
                [(item.tag, item.value, item.day) for item in entry.tag_values],
            )

    def acknowledge(self, last_id: int, dead: Iterable[tuple[Pending, bytes, str]]) -> None:
        """Everything up to `last_id` is delivered, but for `dead`: (entry, line, reason)."""
        now = time.time_ns()
        self._database.executemany(
            "INSERT INTO dead_letters (received_ns, server, line, reason, set_aside_ns)"
            " VALUES (?, ?, ?, ?, ?)",
            [(entry.received_ns, entry.server, line, why, now) for entry, line, why in dead],
        )
        self._database.execute("UPDATE cursor SET delivered_id = ?", (last_id,))

    def read(self, *, max_lines: int) -> list[Pending]:
        """The oldest undelivered entries, in order, of at most `max_lines` lines, at least one."""
        batch: list[Pending] = []
        lines = 0
        with _named():
            rows = self._database.execute(
                "SELECT id, received_ns, server, points, lines FROM entries"
                " WHERE id > (SELECT delivered_id FROM cursor) ORDER BY id LIMIT ?",
                (max_lines,),
            )
            for row in rows:
                entry = Pending(*row)
                lines += entry.points
                if batch and lines > max_lines:
                    break
                batch.append(entry)
            # An open cursor would keep the WAL from being folded back.
            rows.close()
        return batch

    def prune(self, *, older_than_ns: int) -> int:
        """Drop some delivered entries received before a time; how many, 0 where none is left."""
        with self.transaction():
            dropped = self._database.execute(
                "DELETE FROM entries WHERE id IN (SELECT id FROM entries"
                " WHERE id <= (SELECT delivered_id FROM cursor) AND received_ns < ?"
                " ORDER BY id LIMIT ?)",
                (older_than_ns, _PRUNE_ROWS),
            ).rowcount
        if dropped:
            with _named():
                self._database.execute("PRAGMA incremental_vacuum").fetchall()
        return dropped

    def probe(self) -> None:
        """Write and change nothing: whether that can be done is what it tells."""
        with self.transaction():
            self._database.execute("UPDATE cursor SET delivered_id = delivered_id")

    def stats(self) -> Stats:
        """What the outbox holds."""
        with _named():
            (delivered,) = self._database.execute("SELECT delivered_id FROM cursor").fetchone()
            # Counting rows would read a whole backlog; the ids have (nearly) no gaps.
            (last,) = self._database.execute("SELECT coalesce(max(id), 0) FROM entries").fetchone()
            oldest = self._database.execute(
                "SELECT received_ns FROM entries WHERE id > ? ORDER BY id LIMIT 1", (delivered,)
            ).fetchone()
            (dead,) = self._database.execute("SELECT count(*) FROM dead_letters").fetchone()
        if oldest is None:
            return Stats(0, None, dead, self.used())
        return Stats(last - delivered, oldest[0], dead, self.used())

    def used(self) -> int:
        """Bytes in use in the file; what is free inside it does not count."""
        with _named():
            pages = self._pragma("page_count") - self._pragma("freelist_count")
            return pages * self._pragma("page_size")

    def newest_ns(self) -> int:
        """The newest timestamp that an earlier run may have given, in ns; 0 for none."""
        # The last entries, not the last one: a dead letter sent again is an old one at the end.
        with _named():
            rows = self._database.execute(
                "SELECT lines FROM entries ORDER BY id DESC LIMIT ?", (_RECENT,)
            ).fetchall()
        return max((int(lines.rpartition(b" ")[2]) for (lines,) in rows), default=0)

    def tag_values(self) -> list[TagValue]:
        """The values of tags that earlier runs saw."""
        with _named():
            rows = self._database.execute("SELECT tag, value, day FROM tag_values").fetchall()
        return [TagValue(*row) for row in rows]

    def dead_letters(self) -> list[DeadLetter]:
        """Every dead letter, oldest first."""
        with _named():
            rows = self._database.execute(
                "SELECT id, received_ns, server, line, reason, set_aside_ns FROM dead_letters"
                " ORDER BY id"
            ).fetchall()
        return [DeadLetter(*row) for row in rows]

    def retry_dead_letters(self) -> int:
        """Put every dead letter behind the undelivered entries again; how many there were."""
        with self.transaction():
            letters = self.dead_letters()
            for letter in letters:
                self.insert(Entry(letter.received_ns, letter.server, 1, letter.line))
            self._database.execute("DELETE FROM dead_letters")
        return len(letters)

    def _pragma(self, name: str) -> int:
        (value,) = self._database.execute(f"PRAGMA {name}").fetchone()
        return int(value)


@contextmanager
def _named() -> Iterator[None]:
    """SQLite's errors under our name for them."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise OutboxUnavailable(f"the outbox cannot be used: {error}") from error


def disk(path: Path) -> tuple[int, int]:
    """Bytes free to us, and in all, on the disk of a file."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def disk_is_short(path: Path, *, reserve: int) -> bool:
    """Whether the disk of a file has less room than `reserve` bytes, or a 20th of a small disk."""
    free, size = disk(path)
    return free < min(reserve, size // 20)
