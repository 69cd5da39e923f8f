"""The outbox's file: a queue of reports in SQLite (WAL, synchronous=FULL).

Delivery moves a cursor. Delivered entries stay for replay until they are old or space is short.
Entries are numbered without gaps, except for those that an owner erased.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Self

import pydantic_core

from collector.outbox import layout
from collector.outbox.dating import DatingTables
from collector.outbox.errors import OutboxDamaged, OutboxUnavailable, as_written, named
from collector.outbox.rows import DeadLetter, Entry, Held, Pending, Stats, checksum, is_whole
from collector.privacy import ServerPseudonym
from collector.sqlite.holding import Hold
from collector.sqlite.migration import tables
from collector.sqlite.search import holds

FILE: Final = "outbox.sqlite3"
_ROWS: Final = 100
"""Most rows in one statement. Each row count is a statement of its own, and the connection caches
128 prepared statements."""
_BATCH: Final = """
WITH waiting AS (
    SELECT id, sum(points) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS lines FROM entries
    WHERE id > max(:after, (SELECT delivered_id FROM cursor)) ORDER BY id LIMIT :most
), last AS (
    SELECT coalesce(max(id) FILTER (WHERE lines <= :most), min(id)) AS id FROM waiting
), kind AS (
    SELECT target, sender FROM entries
    WHERE id > max(:after, (SELECT delivered_id FROM cursor)) ORDER BY id LIMIT 1
)
SELECT
    json_group_array(
        json_array(id, received_ns, nullif(server, ''), points, checksum, length(lines))
    ),
    group_concat(CAST(lines AS TEXT), ''),
    (SELECT target FROM kind), (SELECT sender FROM kind),
    sum(target != (SELECT target FROM kind) OR sender != (SELECT sender FROM kind))
FROM (
    SELECT * FROM entries
    WHERE id > max(:after, (SELECT delivered_id FROM cursor)) AND id <= (SELECT id FROM last)
    ORDER BY id
)
"""
_PENDING: Final = "id, received_ns, nullif(server, ''), points, lines, target, sender"
_ONE_BY_ONE: Final = f"SELECT {_PENDING}, checksum FROM entries WHERE id"  # noqa: S608 - constants
_IN_TURN: Final = (
    f"SELECT {_PENDING}, checksum FROM entries"  # noqa: S608 - constants
    " WHERE id > max(?, (SELECT delivered_id FROM cursor)) ORDER BY id LIMIT ?"
)
_MOST_READABLE: Final = 20_000
_BUSY_S: Final = 30
_PRUNE_ROWS: Final = 2000
_RECENT: Final = 1000
_MOST_VACUUM: Final = 256 << 20
_ERASED: Final = "the words named what was erased"
_LETTER: Final = "received_ns, server, line, reason, set_aside_ns, target, sender"

Legacy = Mapping[str, Sequence[tuple[Any, ...]]]
"""Rows of the tables of `layout.LEGACY`, by table."""


@cache
def _insertion(rows: int) -> str:
    """Return the statement that inserts `rows` entries of one target (?1) and one sender (?2)."""
    values = [
        "(" + ",".join([f"?{number}" for number in range(first, first + 5)]) + ",?1,?2)"
        for first in range(3, 3 + 5 * rows, 5)
    ]
    columns = "received_ns, server, points, lines, checksum, target, sender"
    return f"INSERT INTO entries ({columns}) VALUES {','.join(values)}"  # noqa: S608 - constants


class OutboxFile:
    """One connection to an outbox's file, which is made if missing; also a context manager.

    Every method and the constructor raise OutboxUnavailable if the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._closed = False
        with named():
            # SQLite gives its log and index files the mode of the database file.
            self._hold = Hold(path.parent)
            try:
                path.touch(mode=0o600)
                self._database = sqlite3.connect(
                    path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
                )
            except BaseException:
                self._hold.let_go()
                raise
            try:
                layout.prepare(self._database, path)
                self._identity = _identity(path)
                self.dating = DatingTables(self._database)
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._database.close()
        if not self._closed:
            self._closed = True
            self._hold.let_go()

    @property
    def in_place(self) -> bool:
        """Whether the open file is still the one at its path, not moved away or replaced."""
        return _identity(self._path) == self._identity

    def copy_to(self, path: Path) -> None:
        """Write a complete copy to `path`, which must not exist, and empty this file's log."""
        with named():
            path.touch(mode=0o600)
            self._database.execute("VACUUM INTO ?", (str(path),))
        self._fold()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block in one transaction: at its end all changes are on disk, or none."""
        with named(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield

    def append(self, *entries: Entry) -> None:
        """Append entries in a transaction of their own; they are on disk when this returns."""
        chunks = list(_chunks(entries))
        if len(chunks) == 1:
            with named():
                # A single statement is a transaction by itself, and saves two waits for the GIL.
                self._insert(chunks[0])
        elif chunks:
            with self.transaction():
                for chunk in chunks:
                    self._insert(chunk)

    def insert(self, *entries: Entry) -> None:
        """Append entries. In a transaction."""
        for chunk in _chunks(entries):
            self._insert(chunk)

    def _insert(self, rows: Sequence[Entry]) -> None:
        """Insert at most `_ROWS` entries of one target and one sender."""
        # Each call releases the GIL and waits to get it back, so one call inserts many rows.
        values: list[object] = [*rows[0][4:]]
        for received_ns, server, points, lines, target, sender in rows:
            name = server or ""
            sum_ = checksum(received_ns, name, points, lines, target, sender)
            values += (received_ns, name, points, lines, sum_)
        self._database.execute(_insertion(len(rows)), values)

    def acknowledge(
        self, batch: Sequence[Pending], dead: Iterable[tuple[Pending, bytes, str]]
    ) -> None:
        """Mark a batch from `read` as delivered, all but `dead`: (entry, line, reason) each.

        Changes nothing if an earlier entry is undelivered: a replay was started meanwhile, and
        `read` returns the batch again. Nor for a batch from a file that was set aside.
        """
        first, last = batch[0].id, batch[-1].id
        moved = self._database.execute(
            "UPDATE cursor SET delivered_id = ?1 WHERE delivered_id < ?1 AND NOT EXISTS"
            " (SELECT 1 FROM entries WHERE id > delivered_id AND id < ?2)",
            (last, first),
        ).rowcount
        if moved:
            now = time.time_ns()
            for entry, line, why in dead:
                self.put_dead_letter(
                    DeadLetter(0, entry.received_ns, entry.server, line, why, now, *entry[5:])
                )

    def put_dead_letter(self, letter: DeadLetter) -> None:
        """Append a dead letter, which gets a new number."""
        self._database.execute(
            f"INSERT INTO dead_letters ({_LETTER})"  # noqa: S608 - a constant
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                letter.received_ns,
                letter.server or "",
                letter.line,
                letter.reason,
                letter.set_aside_ns,
                letter.target,
                letter.sender,
            ),
        )

    def read(self, *, max_lines: int, after: int = 0) -> list[Pending]:
        """Return the oldest undelivered entries after number `after`, in order.

        Together they have at most `max_lines` lines, except that one entry always fits.
        Raises OutboxDamaged if an entry does not match its checksum.
        """
        rows = self._rows_at_once(max_lines, after)
        if rows is None:
            rows = self._rows_in_turn(max_lines, after)
        batch: list[Pending] = []
        lines = 0
        for row in rows:
            # Takes half the time of calling the constructor.
            entry = Pending._make(row[:-1])
            if not is_whole(entry, row[-1]):
                raise OutboxDamaged(f"entry {entry.id} of the outbox is not as it was written")
            lines += entry.points
            if batch and lines > max_lines:
                break
            batch.append(entry)
        return batch

    def _rows_at_once(self, max_lines: int, after: int) -> Iterable[tuple[Any, ...]] | None:
        """Read a batch in a single row, which costs one wait for the GIL instead of one per row.

        Returns None if an entry has unexpected types, or if targets or senders differ.
        """
        try:
            with named():
                told, text, *rest = self._database.execute(
                    _BATCH, {"most": max_lines, "after": after}
                ).fetchone()
            if told == "[]":
                return []
            target, sender, others = rest
            if others:
                return None
            facts, joined = pydantic_core.from_json(told), text.encode()
            ends = accumulate(length for *_, length in facts)
            return sorted(
                (id_, at, server, points, joined[end - length : end], target, sender, sum_)
                for (id_, at, server, points, sum_, length), end in zip(facts, ends, strict=True)
            )
        except (OutboxDamaged, ValueError, TypeError, AttributeError):
            return None

    def _rows_in_turn(self, max_lines: int, after: int) -> list[tuple[Any, ...]]:
        with named():
            return self._database.execute(
                _IN_TURN,
                (after, max_lines),
            ).fetchall()

    def readable_waiting(self) -> list[Pending]:
        """Return the undelivered entries of a damaged file that this connection can still read.

        Reads one by one: the connection's page cache (2 MB) has recent entries even if the file
        has lost them. At most the newest 20 000; none if even the numbers cannot be read.
        """
        found: list[Pending] = []
        with contextlib.suppress(OutboxUnavailable):
            with named():
                (delivered,) = self._database.execute("SELECT delivered_id FROM cursor").fetchone()
                (last,) = self._database.execute("SELECT max(id) FROM entries").fetchone()
            for id_ in range(last or 0, max(delivered, (last or 0) - _MOST_READABLE), -1):
                # An entry on a damaged page is left to `collector outbox recover`.
                with contextlib.suppress(OutboxUnavailable), named():
                    for *row, sum_ in self._database.execute(f"{_ONE_BY_ONE} = ?", (id_,)):
                        if is_whole(entry := Pending(*row), sum_):
                            found.append(entry)
        found.reverse()
        return found

    def replay(self, *, since_ns: int) -> int:
        """Deliver all retained entries received since a time again; return how many.

        Entries stored after the first of them are delivered again too, whatever their time:
        InfluxDB overwrites equal points.
        """
        with named():
            # Reads the whole file, so before the transaction: appends must not wait for it.
            (first,) = self._database.execute(
                "SELECT min(id) FROM entries WHERE received_ns >= ?", (since_ns,)
            ).fetchone()
        if first is None:
            return 0
        with self.transaction():
            self._database.execute(
                "UPDATE cursor SET delivered_id = ?1 - 1 WHERE delivered_id >= ?1", (first,)
            )
            (count,) = self._database.execute(
                "SELECT count(*) FROM entries WHERE id >= ?", (first,)
            ).fetchone()
        return int(count)

    def oldest_ns(self) -> int | None:
        """Return when the oldest retained entry was received, in ns; None if there is none."""
        with named():
            row = self._database.execute(
                "SELECT received_ns FROM entries ORDER BY id LIMIT 1"
            ).fetchone()
        return None if row is None else int(row[0])

    def prune(self, *, older_than_ns: int) -> int:
        """Delete a chunk of delivered entries received before a time; return how many."""
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

    def check(self, *, most_s: float) -> None:
        """Check the rows that a process needs at its start, then pages for at most `most_s` s.

        Raises OutboxDamaged if damage is found.
        """
        deadline = time.monotonic() + most_s
        self.newest_ns()
        self.stats()
        with named():
            self._database.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
            try:
                found = self._database.execute("PRAGMA quick_check(1)").fetchall()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                    raise
                found = [("ok",)]
            finally:
                self._database.set_progress_handler(None, 0)
        if found != [("ok",)]:
            raise OutboxDamaged(f"the outbox cannot be used: {found[0][0]}")

    def begin_at(self, number: int) -> None:
        """Make a new file number its rows after `number`. In a transaction."""
        for table in ("entries", "dead_letters"):
            self._database.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, number))
        self._database.execute("UPDATE cursor SET delivered_id = ?", (number,))

    def legacy(self) -> Legacy:
        """Return rows of versions 1 and 2 not yet moved to the memory, by table."""
        with named():
            return {
                table: self._database.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
                for table in layout.LEGACY.keys() & tables(self._database)
            }

    def put_legacy(self, rows: Legacy) -> None:
        """Store rows of an earlier version until they move to the memory. In a transaction."""
        for table, found in rows.items():
            columns = layout.LEGACY[table]
            self._database.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
            marks = ",".join("?" * (columns.count(",") + 1))
            self._database.executemany(
                f"INSERT OR REPLACE INTO {table} VALUES ({marks})",  # noqa: S608 - constants
                found,
            )

    def drop_legacy(self) -> None:
        """Delete the tables that `legacy` reads, once the memory has their rows."""
        with self.transaction():
            for table in layout.LEGACY:
                self._database.execute(f"DROP TABLE IF EXISTS {table}")
        self._fold()

    def probe(self) -> None:
        """Test whether the file can be written, without changing content."""
        with self.transaction():
            self._database.execute("UPDATE cursor SET delivered_id = delivered_id")

    def stats(self) -> Stats:
        """Return the outbox's statistics."""
        with named():
            (delivered,) = self._database.execute("SELECT delivered_id FROM cursor").fetchone()
            # Counting rows would read the whole backlog; the ids have almost no gaps.
            (last,) = self._database.execute("SELECT coalesce(max(id), 0) FROM entries").fetchone()
            oldest = self._database.execute(
                "SELECT received_ns FROM entries WHERE id > ? ORDER BY id LIMIT 1", (delivered,)
            ).fetchone()
            (dead,) = self._database.execute("SELECT count(*) FROM dead_letters").fetchone()
        if oldest is None:
            return Stats(0, None, dead, self.used())
        with as_written():
            return Stats(int(last) - int(delivered), int(oldest[0]), dead, self.used())

    def used(self) -> int:
        """Return the bytes in use in the file, without its free pages."""
        with named():
            pages = self._pragma("page_count") - self._pragma("freelist_count")
            return pages * self._pragma("page_size")

    def last_id(self) -> int:
        """Return the highest entry number ever given, 0 for none."""
        with named():
            return self.dating.last_id()

    def newest_ns(self) -> int:
        """Return the newest timestamp that an earlier run may have given, in ns; 0 for none."""
        # Not only of the last entry, which may be a retried dead letter with an old timestamp.
        with named():
            rows = self._database.execute(
                "SELECT lines FROM entries ORDER BY id DESC LIMIT ?", (_RECENT,)
            ).fetchall()
        with as_written():
            return max((int(lines.rpartition(b" ")[2]) for (lines,) in rows), default=0)

    def used_stamps(self) -> list[int]:
        """Return timestamps that a new process must not give again, in ns since 1970.

        They are the first and the last of each recent report, and those given ahead of the clock.
        """
        with named():
            rows = self._database.execute(
                "SELECT lines FROM entries ORDER BY id DESC LIMIT ?", (_RECENT,)
            ).fetchall()
        with as_written():
            stamps = [
                int(line.rpartition(b" ")[2])
                for (lines,) in rows
                for line in (lines.partition(b"\n")[0], lines)
            ]
        return stamps + self.dating.marks()

    def dead_letters(self) -> list[DeadLetter]:
        """Return all dead letters, oldest first."""
        with named():
            rows = self._database.execute(
                f"SELECT id, {_LETTER} FROM dead_letters ORDER BY id"  # noqa: S608 - a constant
            ).fetchall()
        return [
            DeadLetter(id_, at, ServerPseudonym(server) if server else None, *rest)
            for id_, at, server, *rest in rows
        ]

    def retry_dead_letters(self) -> int:
        """Requeue all dead letters for delivery; return how many."""
        with self.transaction():
            letters = self.dead_letters()
            for letter in letters:
                self.insert(
                    Entry(
                        letter.received_ns,
                        letter.server,
                        1,
                        letter.line,
                        letter.target,
                        letter.sender,
                    )
                )
            self._database.execute("DELETE FROM dead_letters")
        return len(letters)

    def drop_dead_letters(self, numbers: Iterable[int] | None = None) -> int:
        """Delete the dead letters of these numbers, or all; return how many."""
        with self.transaction():
            if numbers is None:
                count = self._database.execute("DELETE FROM dead_letters").rowcount
            else:
                count = self._database.executemany(
                    "DELETE FROM dead_letters WHERE id = ?", [(number,) for number in numbers]
                ).rowcount
        if count:
            self._fold()
        return count

    def held(self, server: ServerPseudonym) -> Held:
        """Return all rows of a server. Reads the whole file."""
        with named():
            (cursor,) = self._database.execute("SELECT delivered_id FROM cursor").fetchone()
            rows = self._database.execute(
                f"SELECT {_PENDING} FROM entries WHERE server = ? ORDER BY id",  # noqa: S608
                (server,),
            ).fetchall()
        entries = [Pending(*row) for row in rows]
        return Held(
            tuple(entry for entry in entries if entry.id > cursor),
            tuple(entry for entry in entries if entry.id <= cursor),
            tuple(letter for letter in self.dead_letters() if letter.server == server),
        )

    def servers(self) -> dict[ServerPseudonym, int]:
        """Return each server that has rows here, and when its oldest was received, in ns."""
        with named():
            rows = self._database.execute(
                "SELECT server, min(received_ns) FROM (SELECT server, received_ns FROM entries"
                " UNION ALL SELECT server, received_ns FROM dead_letters)"
                " WHERE server != '' GROUP BY server"
            ).fetchall()
        return {ServerPseudonym(server): oldest for server, oldest in rows}

    def erase(self, server: ServerPseudonym, held: Held) -> None:
        """Delete the rows `held` of a server, in a transaction of its own."""
        with self.transaction():
            for table, found in (
                ("entries", (*held.waiting, *held.delivered)),
                ("dead_letters", held.dead),
            ):
                self._database.executemany(
                    f"DELETE FROM {table} WHERE id = ? AND server = ?",  # noqa: S608 - a constant
                    [(item.id, server) for item in found],
                )
            # InfluxDB's error text for a batch may quote a line of another server in it.
            self._database.execute(
                "UPDATE dead_letters SET reason = ? WHERE server != ? AND instr(reason, ?)",
                (_ERASED, server, server),
            )

    def scrub(self, traces: Iterable[bytes]) -> bool:
        """Remove remains of deleted rows; return whether the disk is free of these byte strings.

        Outside of a transaction. Waits for readers and writers of other connections.
        """
        self._fold()
        if not holds(self._path, traces):
            return True
        # Remains of rows that were moved within a page belong to no row: only VACUUM removes them.
        if self.used() > _MOST_VACUUM or disk_is_short(self._path, reserve=2 * self.used()):
            return False
        with named():
            self._database.execute("VACUUM")
        self._fold()
        return not holds(self._path, traces)

    def _fold(self) -> None:
        """Return free pages to the disk, and move the log's pages into the file."""
        with named():
            self._database.execute("PRAGMA incremental_vacuum").fetchall()
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _pragma(self, name: str) -> int:
        (value,) = self._database.execute(f"PRAGMA {name}").fetchone()
        return int(value)


def _chunks(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Split entries, in order, into lists of at most `_ROWS` with equal target and sender."""
    for _, alike in groupby(entries, itemgetter(4, 5)):
        rows = list(alike)
        for first in range(0, len(rows), _ROWS):
            yield rows[first : first + _ROWS]


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def disk(path: Path) -> tuple[int, int]:
    """Return the free bytes available to this process and the size of a file's disk, in bytes."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def disk_is_short(path: Path, *, reserve: int) -> bool:
    """Return whether less than `reserve` bytes, or 1/20 of a smaller disk, is free."""
    free, size = disk(path)
    return free < min(reserve, size // 20)
