"""The outbox's file: reports in SQLite (WAL, synchronous=FULL), with a cursor for each queue.

Delivery moves a cursor. Delivered entries stay for replay until they are old or space is short.
Entries are numbered without gaps, except for those that were deleted.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Final

from collector.outbox.batches import Batches
from collector.outbox.errors import OutboxDamaged, translated_errors
from collector.outbox.figures import Figures
from collector.outbox.legacy import LegacyRows
from collector.outbox.owned import Owned
from collector.outbox.queues import FROM, Queue, queue_of
from collector.outbox.rows import DeadLetter, Entry, Pending, checksum

FILE: Final = "outbox.sqlite3"
_ROWS: Final = 100
"""Most rows in one statement. Each row count is a statement of its own, and the connection caches
128 prepared statements."""
_ACKNOWLEDGE: Final = {
    queue: (
        "UPDATE cursors SET delivered_id = ?1"  # noqa: S608 - constants
        f" WHERE queue = '{queue}' AND delivered_id < ?1 AND NOT EXISTS"
        f" (SELECT 1 FROM {FROM[queue]} AND id > delivered_id AND id < ?2)"
    )
    for queue in Queue
}


@cache
def _insertion(rows: int) -> str:
    """Return the statement that inserts `rows` entries of one target (?1) and one sender (?2)."""
    values = [
        "(" + ",".join([f"?{number}" for number in range(first, first + 5)]) + ",?1,?2)"
        for first in range(3, 3 + 5 * rows, 5)
    ]
    columns = "received_ns, server, points, lines, checksum, target, sender"
    return f"INSERT INTO entries ({columns}) VALUES {','.join(values)}"  # noqa: S608 - constants


class OutboxFile(Batches, Owned, Figures, LegacyRows):
    """One connection to an outbox's file, which is made if missing; also a context manager.

    Every method and the constructor raise OutboxUnavailable if the file cannot be used.
    """

    def append(self, *entries: Entry) -> None:
        """Append entries in a transaction of their own; they are on disk when this returns."""
        chunks = list(_chunks(entries))
        if len(chunks) == 1:
            with translated_errors():
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

        Changes nothing if an earlier entry of the queue is undelivered: a replay was started
        meanwhile, and `read` returns the batch again. Nor for a batch from a file that was set
        aside. In a transaction.
        """
        first, last = batch[0].id, batch[-1].id
        statement = _ACKNOWLEDGE[queue_of(batch[0].target)]
        if self._database.execute(statement, (last, first)).rowcount:
            now = time.time_ns()
            for entry, line, why in dead:
                self.put_dead_letter(
                    DeadLetter(0, entry.received_ns, entry.server, line, why, now, *entry[5:])
                )

    def retry_dead_letters(self) -> int:
        """Requeue all dead letters for delivery; return how many."""
        with self.transaction():
            letters = self.dead_letters()
            for one in letters:
                self.insert(Entry(one.received_ns, one.server, 1, one.line, one.target, one.sender))
            self._database.execute("DELETE FROM dead_letters")
        return len(letters)

    def replay(self, *, since_ns: int, queues: Iterable[Queue] = tuple(Queue)) -> int:
        """Deliver all retained entries of queues received since a time again; return how many.

        Entries stored after the first of them are delivered again too, whatever their time: every
        target stores an equal entry once.
        """
        found = 0
        for queue in queues:
            with translated_errors():
                # Reads the whole file, so before the transaction: appends must not wait for it.
                (first,) = self._database.execute(
                    f"SELECT min(id) FROM {FROM[queue]} AND received_ns >= ?",  # noqa: S608
                    (since_ns,),
                ).fetchone()
            if first is None:
                continue
            with self.transaction():
                self._database.execute(
                    "UPDATE cursors SET delivered_id = ?1 - 1"
                    " WHERE queue = ?2 AND delivered_id >= ?1",
                    (first, queue),
                )
                (count,) = self._database.execute(
                    f"SELECT count(*) FROM {FROM[queue]} AND id >= ?",  # noqa: S608 - constants
                    (first,),
                ).fetchone()
            found += count
        return found

    def check(self, *, most_s: float) -> None:
        """Check the rows that a process needs at its start, then pages for at most `most_s` s.

        Raises OutboxDamaged if damage is found.
        """
        deadline = time.monotonic() + most_s
        self.newest_ns()
        self.stats()
        with translated_errors():
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
        self._database.execute("UPDATE cursors SET delivered_id = ?", (number,))

    def probe(self) -> None:
        """Test whether the file can be written, without changing content."""
        with self.transaction():
            self._database.execute("UPDATE cursors SET delivered_id = delivered_id")


def _chunks(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Split entries, in order, into lists of at most `_ROWS` with equal target and sender."""
    for _, alike in groupby(entries, itemgetter(4, 5)):
        rows = list(alike)
        for first in range(0, len(rows), _ROWS):
            yield rows[first : first + _ROWS]
