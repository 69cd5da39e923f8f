"""Corrects the timestamps of reports that were received under a wrong system clock.

A machine without a battery clock boots with a wrong time, receives reports, and has its clock set
later. The outbox's file records the boot in which its undelivered entries were received and the
clock's offset from the time since boot (`CLOCK_BOOTTIME`, which cannot be set). Setting the clock
is a *step*: entries received before it are moved by the same amount. A step is recorded in one
transaction and applied in another, so that a crash in between moves nothing twice.

Entries are moved before delivery, under the delivery lock. An entry that may have been sent already
(up to the `sent_id` of its queue) is not moved: its target may have stored it although the reply
was lost, and at another time it would be a second point or record.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from collector.lines import NS_PER_DAY, REDATING_LANES, ReportStamper
from collector.outbox.errors import decoding_errors, translated_errors
from collector.outbox.queues import DELIVERED, FROM, Queue, queue_of
from collector.outbox.rows import checksum

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS clock (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    boot TEXT NOT NULL,
    offset_ns INTEGER NOT NULL,
    since_id INTEGER NOT NULL,
    marks TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS clock_steps (
    step INTEGER PRIMARY KEY,
    from_id INTEGER NOT NULL,
    upto_id INTEGER NOT NULL,
    from_ns INTEGER NOT NULL,
    until_ns INTEGER NOT NULL,
    by_ns INTEGER
)
"""
_EARLY: Final = {
    queue: (
        f"SELECT id FROM {FROM[queue]} AND id > {DELIVERED[queue]}"  # noqa: S608 - constants
        " AND received_ns < ? ORDER BY id LIMIT 1"
    )
    for queue in Queue
}
_SLACK_NS: Final = 2 * 10**9
"""Tolerance at both ends of a step: timestamps may run ahead of the clock, and a step is noticed a
moment after it happened."""


@dataclass(frozen=True, slots=True)
class ClockReading:
    """Reading of a clock: the boot's id (empty: unknown), and UTC minus time since boot, in ns."""

    boot: str
    offset_ns: int


@dataclass(frozen=True, slots=True)
class Redated:
    """Result of one applied step.

    `moved` counts entries and dead letters with a corrected time, `misdated` entries sent already
    and left on a wrong day. `by_ns` is how far the clock was set; None for entries of an earlier
    boot, which get the start time of this process.
    """

    by_ns: int | None
    moved: int
    misdated: int


class DatingTables:
    """The tables of clock readings and steps, over one connection to an outbox's file."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def begin(
        self, reading: ClockReading, *, now_ns: int, earliest_ns: int, tolerance_ns: int
    ) -> None:
        """Record the clock when a process starts, before it receives anything. In a transaction.

        Undelivered entries of an earlier boot with a time before `earliest_ns` were received under
        a wrong clock, and their true time cannot be known: a step will date them to `now_ns`.
        A difference of at most `tolerance_ns` is no step.
        """
        row = self._row()
        last = self.last_id()
        if row is not None and reading.boot and row[0] == reading.boot:
            if abs(reading.offset_ns - row[1]) > tolerance_ns:
                self.step(reading, now_ns=now_ns)
            return
        first = min(
            (
                number
                for queue in Queue
                for (number,) in self._database.execute(_EARLY[queue], (earliest_ns,))
            ),
            default=None,
        )
        # Steps of another boot no longer apply: its entries are right or older than `earliest_ns`.
        self._database.execute("DELETE FROM clock_steps")
        if first is not None:
            self._add_step(first - 1, last, 0, earliest_ns, None)
        marks = "[]" if row is None else row[3]
        self._database.execute(
            "INSERT OR REPLACE INTO clock VALUES (1, ?, ?, ?, ?)",
            (reading.boot, reading.offset_ns, last if first is None else first - 1, marks),
        )

    def step(self, reading: ClockReading, *, now_ns: int) -> None:
        """Record that the clock was set and has this reading since `now_ns`. In a transaction.

        Every entry of the file must have been received before.
        """
        row = self._row()
        if row is None:
            return
        _, offset, since, _ = row
        by = reading.offset_ns - offset
        self._add_step(since, self.last_id(), offset - _SLACK_NS, now_ns - by + _SLACK_NS, by)
        self._database.execute("UPDATE clock SET offset_ns = ?", (reading.offset_ns,))

    def has_steps(self) -> bool:
        """Return whether a recorded step is not yet applied."""
        with translated_errors():
            return self._row() is not None and bool(
                self._database.execute("SELECT 1 FROM clock_steps LIMIT 1").fetchall()
            )

    def sent(self) -> dict[Queue, int]:
        """Return, for each queue, the highest number of an entry that may have been sent."""
        with translated_errors(), decoding_errors():
            rows = self._database.execute("SELECT queue, sent_id FROM cursors").fetchall()
            return {Queue(queue): int(number) for queue, number in rows}

    def note_sent(self, queue: Queue, number: int) -> None:
        """Record, before sending, that entries up to this number may be sent. In a transaction."""
        self._database.execute("UPDATE cursors SET sent_id = ? WHERE queue = ?", (number, queue))

    def apply(
        self, *, now_ns: int, known_sent: Mapping[Queue, int] = MappingProxyType({})
    ) -> list[Redated]:
        """Correct the times of entries received before each step. In a transaction.

        `known_sent` are results of `sent` that the caller knows better than the file.
        """
        row = self._row()
        if row is None:
            return []
        sent = {**self.sent(), **known_sent}
        delivered = dict(self._database.execute("SELECT queue, delivered_id FROM cursors"))
        steps = self._database.execute(
            "SELECT from_id, upto_id, from_ns, until_ns, by_ns FROM clock_steps ORDER BY step"
        ).fetchall()
        # SQLite keeps any type in any column: a flipped bit may have changed it.
        with decoding_errors():
            if not all(isinstance(value or 0, int) for step in steps for value in step):
                raise ValueError("a number of a step is no number")
        marks = _stamps(row[3])
        done = []
        for from_id, upto_id, from_ns, until_ns, by in steps:
            entries = self._database.execute(
                "SELECT id, received_ns, server, points, lines, target, sender FROM entries"
                " WHERE id > ? AND id <= ? AND received_ns BETWEEN ? AND ? ORDER BY id",
                (from_id, upto_id, from_ns, until_ns),
            ).fetchall()
            moved = misdated = 0
            for number, received, server, points, lines, target, sender in entries:
                new = now_ns if by is None else received + by
                queue = queue_of(target)
                # Entries of a step without `by_ns` were held back: none was ever sent.
                if number <= delivered[queue] or (by is not None and number <= sent[queue]):
                    misdated += new // NS_PER_DAY != received // NS_PER_DAY
                    continue
                with decoding_errors():
                    anew = _dated(lines, new, marks)
                self._database.execute(
                    "UPDATE entries SET received_ns = ?, lines = ?, checksum = ? WHERE id = ?",
                    (new, anew, checksum(new, server, points, anew, target, sender), number),
                )
                moved += 1
            if by is not None:
                moved += self._retry(from_ns, until_ns, by, marks)
            done.append(Redated(by, moved, misdated))
        self._database.execute("DELETE FROM clock_steps")
        self._remember(marks)
        return done

    def marks(self) -> list[int]:
        """Return timestamps given ahead of the clock: none of them may be given again."""
        with translated_errors():
            row = self._row()
        return [] if row is None else _stamps(row[3])

    def remember(self, marks: Iterable[int]) -> None:
        """Store timestamps that were given, for `marks`. In a transaction."""
        row = self._row()
        if row is not None:
            self._remember([*_stamps(row[3]), *marks])

    def _remember(self, stamps: Sequence[int]) -> None:
        # The newest of each lane and instance reading for all earlier ones.
        newest: dict[int, list[int]] = {}
        for stamp in stamps:
            newest.setdefault(stamp % 1000, []).append(stamp)
        kept = [
            mark
            for instance, used in newest.items()
            for mark in ReportStamper(instance=instance, used=used).marks
        ]
        self._database.execute("UPDATE clock SET marks = ?", (json.dumps(sorted(kept)),))

    def _retry(self, from_ns: int, until_ns: int, by: int, marks: list[int]) -> int:
        """Requeue dead letters received and refused before a step, with corrected times."""
        letters = self._database.execute(
            "SELECT id, received_ns, server, target, sender, line FROM dead_letters WHERE"
            " received_ns BETWEEN ?1 AND ?2 AND set_aside_ns BETWEEN ?1 AND ?2 ORDER BY id",
            (from_ns, until_ns),
        ).fetchall()
        reports: dict[tuple[int, str, str, str], list[bytes]] = {}
        for _, *of, line in letters:
            reports.setdefault(tuple(of), []).append(line)
        for (received, server, target, sender), lines in reports.items():
            new, points = received + by, len(lines)
            with decoding_errors():
                anew = _dated(b"\n".join(lines), new, marks)
            sum_ = checksum(new, server, points, anew, target, sender)
            self._database.execute(
                "INSERT INTO entries (received_ns, server, points, lines, checksum, target, sender)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (new, server, points, anew, sum_, target, sender),
            )
        self._database.executemany(
            "DELETE FROM dead_letters WHERE id = ?", [(number,) for number, *_ in letters]
        )
        return len(letters)

    def _add_step(
        self, from_id: int, upto_id: int, from_ns: int, until_ns: int, by_ns: int | None
    ) -> None:
        self._database.execute(
            "INSERT INTO clock_steps (from_id, upto_id, from_ns, until_ns, by_ns)"
            " VALUES (?, ?, ?, ?, ?)",
            (from_id, upto_id, from_ns, until_ns, by_ns),
        )

    def _row(self) -> tuple[str, int, int, str] | None:
        """Return the clock's row; None if no process has called `begin` on this file."""
        found: tuple[str, int, int, str] | None = self._database.execute(
            "SELECT boot, offset_ns, since_id, marks FROM clock"
        ).fetchone()
        if found is not None:
            boot, offset, since, marks = found
            # SQLite keeps any type in any column: a flipped bit may have changed it.
            with decoding_errors():
                if not all(isinstance(value, int) for value in (offset, since)):
                    raise ValueError("a number of the clock is no number")
                return str(boot), offset, since, str(marks)
        return found

    def last_id(self) -> int:
        """Return the highest entry number ever given, 0 for none."""
        # Not the highest number in the table: an owner may have had that entry erased.
        (last,) = self._database.execute(
            "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'entries'"
        ).fetchone()
        return int(last)


def _stamps(written: str) -> list[int]:
    with decoding_errors():
        return [int(stamp) for stamp in json.loads(written)]


def _dated(lines: bytes, received_ns: int, marks: list[int]) -> bytes:
    """Return a report's lines with timestamps from `received_ns` on, in unchanged distances.

    `marks` are the timestamps already given to other reports; the new ones are added to it.
    """
    heads = [line.rpartition(b" ") for line in lines.split(b"\n")]
    old = [int(stamp) for _, _, stamp in heads]
    first, count = min(old), (max(old) - min(old)) // 1000 + 1
    stamper = ReportStamper(instance=first % 1000, used=marks, lanes=REDATING_LANES)
    new = stamper.take(received_ns, count)
    marks[:] = [mark for mark in marks if mark % 1000 != first % 1000] + stamper.marks
    return b"\n".join(
        b"%s %d" % (head, new[0] + stamp - first)
        for (head, _, _), stamp in zip(heads, old, strict=True)
    )
