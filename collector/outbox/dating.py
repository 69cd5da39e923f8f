"""Dates reports anew that were taken under a wrong clock. Tables of the outbox's file.

A machine without a battery clock boots with a wrong time, takes reports, and has its clock set a
while later. What the file remembers: in which boot its undelivered entries were received and how
the clock stood to the time since boot (`CLOCK_BOOTTIME`, which nobody sets). A clock that is set is
a *step*; the entries received before it are moved by as much. A step is written down first and
applied later, in one transaction each, so that a crash between the two moves nothing twice.

Entries are moved while they wait. Nobody delivers them meanwhile: the delivery lock is held. An
entry that may have been sent already (up to `sent_id`) is not moved: InfluxDB may have stored it
although its answer was lost, and at another time it would be a second point.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from collector.lines import NS_PER_DAY, REDATING_LANES, ReportStamper
from collector.outbox.errors import as_written, named
from collector.outbox.rows import checksum

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS clock (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    boot TEXT NOT NULL,
    offset_ns INTEGER NOT NULL,
    since_id INTEGER NOT NULL,
    marks TEXT NOT NULL,
    sent_id INTEGER NOT NULL DEFAULT 0
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
_SLACK_NS: Final = 2 * 10**9
"""A timestamp's lead, and the moment between a clock that is set and the report that notices."""


@dataclass(frozen=True, slots=True)
class Stand:
    """How a clock stands: the boot (empty: unknown), and UTC less the time since boot, in ns."""

    boot: str
    offset_ns: int


@dataclass(frozen=True, slots=True)
class Redated:
    """What a step did: entries and dead letters that were moved, and sent ones on a wrong day.

    `by_ns` is how far the clock was set, None for entries of an earlier boot, which were dated to
    the start of this process.
    """

    by_ns: int | None
    moved: int
    misdated: int


class DatingTables:
    """The clock of an outbox's entries, over one connection to its file."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def begin(self, stand: Stand, *, now_ns: int, earliest_ns: int, tolerance_ns: int) -> None:
        """A process starts at `now_ns`, before it takes anything; within a transaction.

        Waiting entries of an earlier boot that are dated before `earliest_ns` were taken under a
        wrong clock, and how long ago cannot be known: they are to be dated to `now_ns`.
        """
        for statement in SCHEMA.split(";"):
            self._database.execute(statement)
        row = self._row()
        last = self.last_id()
        if row is not None and stand.boot and row[0] == stand.boot:
            if abs(stand.offset_ns - row[1]) > tolerance_ns:
                self.step(stand, now_ns=now_ns)
            return
        (first,) = self._database.execute(
            "SELECT min(id) FROM entries"
            " WHERE id > (SELECT delivered_id FROM cursor) AND received_ns < ?",
            (earliest_ns,),
        ).fetchone()
        # Steps of another boot are of no use: its entries are right or dated by `earliest_ns`.
        self._database.execute("DELETE FROM clock_steps")
        if first is not None:
            self._add_step(first - 1, last, 0, earliest_ns, None)
        marks = "[]" if row is None else row[3]
        self._database.execute(
            "INSERT OR REPLACE INTO clock VALUES (1, ?, ?, ?, ?, ?)",
            (
                stand.boot,
                stand.offset_ns,
                last if first is None else first - 1,
                marks,
                0 if row is None else row[4],
            ),
        )

    def step(self, stand: Stand, *, now_ns: int) -> None:
        """The clock was set, and stands like this since `now_ns`; within a transaction.

        Everything in the file was received before.
        """
        row = self._row()
        if row is None:
            return
        _, offset, since, *_ = row
        by = stand.offset_ns - offset
        self._add_step(since, self.last_id(), offset - _SLACK_NS, now_ns - by + _SLACK_NS, by)
        self._database.execute("UPDATE clock SET offset_ns = ?", (stand.offset_ns,))

    def has_steps(self) -> bool:
        """Whether something is to be dated anew."""
        with named():
            return self._row() is not None and bool(
                self._database.execute("SELECT 1 FROM clock_steps LIMIT 1").fetchall()
            )

    def sent_id(self) -> int:
        """Up to which number entries may have been sent to their target."""
        with named():
            row = self._row()
        return 0 if row is None else row[4]

    def note_sent(self, number: int) -> None:
        """Entries up to this number may be sent from now on; within a transaction."""
        if self._row() is not None:
            self._database.execute("UPDATE clock SET sent_id = ?", (number,))

    def apply(self, *, now_ns: int, sent_id: int | None = None) -> list[Redated]:
        """Date anew what was received before each step; within a transaction.

        `sent_id` is the number up to which entries may have been sent, where that is known better
        than the file knows it.
        """
        row = self._row()
        if row is None:
            return []
        sent = row[4] if sent_id is None else sent_id
        steps = self._database.execute(
            "SELECT from_id, upto_id, from_ns, until_ns, by_ns FROM clock_steps ORDER BY step"
        ).fetchall()
        marks = _stamps(row[3])
        done = []
        for from_id, upto_id, from_ns, until_ns, by in steps:
            entries = self._database.execute(
                "SELECT id, received_ns, server, points, lines, target, sender,"
                " id > (SELECT delivered_id FROM cursor) FROM entries"
                " WHERE id > ? AND id <= ? AND received_ns BETWEEN ? AND ? ORDER BY id",
                (from_id, upto_id, from_ns, until_ns),
            ).fetchall()
            moved = misdated = 0
            for number, received, server, points, lines, target, sender, waits in entries:
                new = now_ns if by is None else received + by
                # Entries that are dated by `by_ns` None were held: none was ever sent.
                if not waits or (by is not None and number <= sent):
                    misdated += new // NS_PER_DAY != received // NS_PER_DAY
                    continue
                with as_written():
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
        """Timestamps that were given, ahead of the clock then: none may be given again."""
        with named():
            row = self._row()
        return [] if row is None else _stamps(row[3])

    def remember(self, marks: Iterable[int]) -> None:
        """Remember timestamps that were given, within a transaction."""
        row = self._row()
        if row is not None:
            self._remember([*_stamps(row[3]), *marks])

    def _remember(self, stamps: Sequence[int]) -> None:
        # The newest of each lane and instance say it all.
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
        """Put dead letters of reports received before a step back into the queue, dated anew."""
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
            with as_written():
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

    def _row(self) -> tuple[str, int, int, str, int] | None:
        """The clock's row; None where no process has begun on this file."""
        if not self._database.execute(
            "SELECT 1 FROM sqlite_master WHERE name = 'clock'"
        ).fetchall():
            return None
        found: tuple[str, int, int, str, int] | None = self._database.execute(
            "SELECT boot, offset_ns, since_id, marks, sent_id FROM clock"
        ).fetchone()
        return found

    def last_id(self) -> int:
        """The number of the last entry that there ever was; 0 where none was."""
        # Not the newest entry's: an owner may have had that erased.
        (last,) = self._database.execute(
            "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'entries'"
        ).fetchone()
        return int(last)


def _stamps(written: str) -> list[int]:
    with as_written():
        return [int(stamp) for stamp in json.loads(written)]


def _dated(lines: bytes, received_ns: int, marks: list[int]) -> bytes:
    """A report's lines with the timestamps of another time, the distances between them kept.

    `marks` are the timestamps given so for other reports; the new ones are added.
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
