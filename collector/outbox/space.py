"""Disk space of an outbox's file: its size, deletion of delivered entries, return of free pages."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from collector.outbox.connection import Connected
from collector.outbox.errors import translated_errors
from collector.outbox.queues import DELIVERED, FROM, Queue
from collector.sqlite.search import holds

_WINDOW: Final = 4000
"""Entries looked at in one step, by number: a step must not hold up reports, however many entries
are retained."""
_MOST_VACUUM: Final = 256 << 20
_KEPT: Final = {
    queue: (
        f"SELECT id FROM {FROM[queue]}"  # noqa: S608 - constants
        f" AND id > (SELECT pruned_id FROM cursors WHERE queue = '{queue}')"
    )
    for queue in Queue
}
_ALL_BEFORE: Final = {
    queue: (
        f"UPDATE cursors SET pruned_id = coalesce(({kept} ORDER BY id LIMIT 1) - 1, delivered_id)"  # noqa: S608
        " WHERE queue = :queue"
    )
    for queue, kept in _KEPT.items()
}
_PRUNE: Final = {
    queue: (
        f"DELETE FROM entries WHERE id IN ({kept} AND id > :after AND received_ns < :before"  # noqa: S608
        f" AND id <= min({DELIVERED[queue]}, {_WINDOW} + max(:after,"
        f" (SELECT pruned_id FROM cursors WHERE queue = '{queue}'))))"
    )
    for queue, kept in _KEPT.items()
}


class Pruned(NamedTuple):
    """Number of entries that were deleted, and the number after which to look next; None: done."""

    entries: int
    next: int | None


class Space(Connected):
    """The part of an outbox's file that is about its size."""

    def used(self) -> int:
        """Return the bytes in use in the file, without its free pages."""
        with translated_errors():
            pages = self.pragma("page_count") - self.pragma("freelist_count")
            return pages * self.pragma("page_size")

    def prune(self, *, older_than_ns: int, after: int = 0) -> Pruned:
        """Delete delivered entries from before a time among the first 4000 after number `after`.

        That is of each queue, and by their numbers. Entries of one queue may stay while those of
        another, received later, are deleted.
        """
        with self.transaction():
            begin, delivered = self._database.execute(
                "SELECT max(min(pruned_id), ?), max(delivered_id) FROM cursors", (after,)
            ).fetchone()
            told = {"after": after, "before": older_than_ns}
            dropped = self._database.execute(_PRUNE[Queue.INFLUX], told).rowcount
            gone = self._database.execute(f"{_PRUNE[Queue.RECORDS]} RETURNING id", told).fetchall()
            if gone:
                self._note_pruned(gone)
            if dropped := dropped + len(gone):
                # The next call then skips entries of other queues that stay.
                for queue in Queue:
                    self._database.execute(_ALL_BEFORE[queue], {"queue": queue})
        if dropped:
            with translated_errors():
                self._database.execute("PRAGMA incremental_vacuum").fetchall()
        end = begin + _WINDOW
        return Pruned(dropped, end if end < delivered else None)

    def _note_pruned(self, records: list[tuple[int]]) -> None:
        """Record the numbers of other queues: InfluxDB's waiting entries are counted by number."""
        (delivered,) = self._database.execute(f"SELECT {DELIVERED[Queue.INFLUX]}").fetchone()
        ahead = [id_ for id_ in records if id_[0] > delivered]
        self._database.execute("DELETE FROM pruned WHERE id <= ?", (delivered,))
        self._database.executemany("INSERT OR IGNORE INTO pruned VALUES (?)", ahead)

    def copy_to(self, path: Path) -> None:
        """Write a complete copy to `path`, which must not exist, and empty this file's log."""
        with translated_errors():
            path.touch(mode=0o600)
            self._database.execute("VACUUM INTO ?", (str(path),))
        self.fold()

    def scrub(self, traces: Iterable[bytes]) -> bool:
        """Remove remains of deleted rows; return whether the disk is free of these byte strings.

        Outside of a transaction. Waits for readers and writers of other connections.
        """
        self.fold()
        if not holds(self._path, traces):
            return True
        # Remains of rows that were moved within a page belong to no row: only VACUUM removes them.
        if self.used() > _MOST_VACUUM or disk_is_short(self._path, reserve=2 * self.used()):
            return False
        with translated_errors():
            self._database.execute("VACUUM")
        self.fold()
        return not holds(self._path, traces)

    def fold(self) -> None:
        """Return free pages to the disk, and move the log's pages into the file."""
        with translated_errors():
            self._database.execute("PRAGMA incremental_vacuum").fetchall()
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def disk(path: Path) -> tuple[int, int]:
    """Return the free bytes available to this process and the size of a file's disk, in bytes."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def disk_is_short(path: Path, *, reserve: int) -> bool:
    """Return whether less than `reserve` bytes, or 1/20 of a smaller disk, is free."""
    free, size = disk(path)
    return free < min(reserve, size // 20)
