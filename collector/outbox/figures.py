"""Figures of an outbox's file: undelivered entries, their ages, and timestamps given."""

from __future__ import annotations

from typing import Final

from collector.outbox.errors import decoding_errors, translated_errors
from collector.outbox.queues import DELIVERED, FROM, Queue
from collector.outbox.rows import Stats, Waiting
from collector.outbox.space import Space

_RECENT: Final = 1000
_STAMPED: Final = f"""
SELECT CASE WHEN length(lines) < 65536 THEN lines ELSE substr(lines, -32) END FROM entries
ORDER BY id DESC LIMIT {_RECENT}
"""  # noqa: S608 - constants
"""SQL of recent entries; of a long one, which is a record, only the end of its line."""


class Figures(Space):
    """The part of an outbox's file that counts and measures its rows."""

    def stats(self) -> Stats:
        """Return the outbox's statistics."""
        with translated_errors():
            waiting = {queue: self._waiting(queue) for queue in Queue}
            (dead,) = self._database.execute("SELECT count(*) FROM dead_letters").fetchone()
        return Stats(waiting, dead, self.used())

    def _waiting(self, queue: Queue) -> Waiting:
        (delivered,) = self._database.execute(f"SELECT {DELIVERED[queue]}").fetchone()
        oldest = self._database.execute(
            f"SELECT received_ns FROM {FROM[queue]} AND id > ? ORDER BY id LIMIT 1",  # noqa: S608
            (delivered,),
        ).fetchone()
        if oldest is None:
            return Waiting(0, None)
        counted = f"SELECT count(*) FROM {FROM[Queue.RECORDS]} AND id > ?"  # noqa: S608 - constants
        (count,) = self._database.execute(counted, (delivered,)).fetchone()
        with decoding_errors():
            if queue is Queue.INFLUX:
                # Counting rows would read the whole backlog; their numbers have almost no gaps.
                (last,) = self._database.execute("SELECT max(id) FROM entries").fetchone()
                (pruned,) = self._database.execute(
                    "SELECT count(*) FROM pruned WHERE id > ?", (delivered,)
                ).fetchone()
                count = int(last) - int(delivered) - count - pruned
            return Waiting(count, int(oldest[0]))

    def last_id(self) -> int:
        """Return the highest entry number ever given, 0 for none."""
        with translated_errors():
            return self.dating.last_id()

    def newest_ns(self) -> int:
        """Return the newest timestamp that an earlier run may have given, in ns; 0 for none."""
        # Not only of the last entry, which may be a retried dead letter with an old timestamp.
        return max(self._stamps(), default=0)

    def used_stamps(self) -> list[int]:
        """Return timestamps that a new process must not give again, in ns since 1970.

        They are the first and the last of each recent report, and those given ahead of the clock.
        """
        return self._stamps() + self.dating.marks()

    def _stamps(self) -> list[int]:
        """Return the first and the last timestamp of each recent entry, in ns."""
        with translated_errors():
            rows = self._database.execute(_STAMPED).fetchall()
        with decoding_errors():
            return [
                int(line.rpartition(b" ")[2])
                for (lines,) in rows
                for line in (lines.partition(b"\n")[0], lines)
            ]

    def oldest_ns(self) -> int | None:
        """Return the time of the oldest retained entry, in ns; None if there is none."""
        with translated_errors():
            row = self._database.execute(
                "SELECT received_ns FROM entries ORDER BY id LIMIT 1"
            ).fetchone()
        return None if row is None else int(row[0])
