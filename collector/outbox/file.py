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
from typing import Final, NamedTuple, Self

from collector.admission import TagValue
from collector.outbox import owners
from collector.outbox.errors import OutboxUnavailable, named
from collector.outbox.search import holds
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
_MOST_VACUUM: Final = 256 << 20
_ERASED: Final = "the words named what was erased"


# Tuples, as they are made for every report: a frozen dataclass costs several times as much.
class Entry(NamedTuple):
    """One report as it is stored: pseudonymous, its lines final and joined by newlines."""

    received_ns: int
    server: ServerPseudonym
    points: int
    lines: bytes
    tag_values: tuple[TagValue, ...] = ()


class Pending(NamedTuple):
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
class Held:
    """What an outbox holds of one server: entries to deliver, entries delivered, dead letters."""

    waiting: tuple[Pending, ...]
    delivered: tuple[Pending, ...]
    dead: tuple[DeadLetter, ...]


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
        with named():
            # SQLite gives its log and index the mode of the file that they belong to.
            path.touch(mode=0o600)
            self._database = sqlite3.connect(
                path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
                self.owners = owners.OwnersTables(self._database)
            except BaseException:
                self._database.close()
                raise

    def _prepare(self) -> None:
        for pragma in (
            "auto_vacuum=INCREMENTAL",
            "journal_mode=WAL",
            "synchronous=FULL",
            # Deleted rows leave zeros in their pages; free pages are given back to the disk.
            "secure_delete=FAST",
        ):
            self._database.execute(f"PRAGMA {pragma}").fetchall()
        version = self._pragma("user_version")
        if version > _VERSION:
            raise OutboxUnavailable(f"{self._path} is of version {version}, newer than this one's")
        if version == 0:
            self._database.executescript(
                f"BEGIN;{_SCHEMA}{owners.SCHEMA}PRAGMA user_version={_VERSION};COMMIT;"
            )

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
        with named(), self._database:
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
        with named():
            rows = self._database.execute(
                "SELECT id, received_ns, server, points, lines FROM entries"
                " WHERE id > (SELECT delivered_id FROM cursor) ORDER BY id LIMIT ?",
                (max_lines,),
            )
            for entry in map(Pending._make, rows):
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
            with named():
                self._database.execute("PRAGMA incremental_vacuum").fetchall()
        return dropped

    def probe(self) -> None:
        """Write and change nothing: whether that can be done is what it tells."""
        with self.transaction():
            self._database.execute("UPDATE cursor SET delivered_id = delivered_id")

    def stats(self) -> Stats:
        """What the outbox holds."""
        with named():
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
        with named():
            pages = self._pragma("page_count") - self._pragma("freelist_count")
            return pages * self._pragma("page_size")

    def newest_ns(self) -> int:
        """The newest timestamp that an earlier run may have given, in ns; 0 for none."""
        # The last entries, not the last one: a dead letter sent again is an old one at the end.
        with named():
            rows = self._database.execute(
                "SELECT lines FROM entries ORDER BY id DESC LIMIT ?", (_RECENT,)
            ).fetchall()
        return max((int(lines.rpartition(b" ")[2]) for (lines,) in rows), default=0)

    def tag_values(self) -> list[TagValue]:
        """The values of tags that earlier runs saw."""
        with named():
            rows = self._database.execute("SELECT tag, value, day FROM tag_values").fetchall()
        return [TagValue(*row) for row in rows]

    def dead_letters(self) -> list[DeadLetter]:
        """Every dead letter, oldest first."""
        with named():
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

    def held(self, server: ServerPseudonym) -> Held:
        """All that the outbox holds of a server. Reads the whole file."""
        with named():
            (cursor,) = self._database.execute("SELECT delivered_id FROM cursor").fetchone()
            rows = self._database.execute(
                "SELECT id, received_ns, server, points, lines FROM entries WHERE server = ?"
                " ORDER BY id",
                (server,),
            ).fetchall()
        entries = [Pending(*row) for row in rows]
        return Held(
            tuple(entry for entry in entries if entry.id > cursor),
            tuple(entry for entry in entries if entry.id <= cursor),
            tuple(letter for letter in self.dead_letters() if letter.server == server),
        )

    def servers(self) -> dict[ServerPseudonym, int]:
        """Each server that the outbox holds something of: when its oldest was received, in ns."""
        with named():
            rows = self._database.execute(
                "SELECT server, min(received_ns) FROM (SELECT server, received_ns FROM entries"
                " UNION ALL SELECT server, received_ns FROM dead_letters) GROUP BY server"
            ).fetchall()
        return {ServerPseudonym(server): oldest for server, oldest in rows}

    def erase(self, server: ServerPseudonym, held: Held, *, until_ns: int) -> None:
        """Delete those of `held` that were received up to a time, within a transaction."""
        for table, found in (
            ("entries", (*held.waiting, *held.delivered)),
            ("dead_letters", held.dead),
        ):
            with named():
                self._database.executemany(
                    f"DELETE FROM {table} WHERE id = ? AND received_ns <= ?",  # noqa: S608
                    [(item.id, until_ns) for item in found],
                )
        # InfluxDB's words about a batch may repeat a line of another server in it.
        with named():
            self._database.execute(
                "UPDATE dead_letters SET reason = ? WHERE server != ? AND instr(reason, ?)",
                (_ERASED, server, server),
            )

    def scrub(self, traces: Iterable[bytes]) -> bool:
        """Leave nothing of deleted rows on the disk; whether none of these byte strings is there.

        Outside of a transaction. Waits for other connections' readers and writers.
        """
        self._fold()
        if not holds(self._path, traces):
            return True
        # What a page's rows left behind when they were moved is in no row any more.
        if self.used() > _MOST_VACUUM or disk_is_short(self._path, reserve=2 * self.used()):
            return False
        with named():
            self._database.execute("VACUUM")
        self._fold()
        return not holds(self._path, traces)

    def _fold(self) -> None:
        """Give free pages back, and the log's pages to the file."""
        with named():
            self._database.execute("PRAGMA incremental_vacuum").fetchall()
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _pragma(self, name: str) -> int:
        (value,) = self._database.execute(f"PRAGMA {name}").fetchone()
        return int(value)


def disk(path: Path) -> tuple[int, int]:
    """Bytes free to us, and in all, on the disk of a file."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def disk_is_short(path: Path, *, reserve: int) -> bool:
    """Whether the disk of a file has less room than `reserve` bytes, or a 20th of a small disk."""
    free, size = disk(path)
    return free < min(reserve, size // 20)
