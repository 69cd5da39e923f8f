"""Recovers reports from an outbox that was set aside into the one in use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collector.outbox.aside import carried_numbers, check_recoverable
from collector.outbox.errors import OutboxUnavailable
from collector.outbox.file import OutboxFile
from collector.outbox.rows import DeadLetter, Entry, Pending
from collector.outbox.salvage import Broken, Counters, reports
from collector.privacy import OwnerMark, ServerPseudonym

_CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Recovered:
    """Result of a recovery. All numbers but `dead_letters` count reports.

    `broken` were found with wrong content. `missing` are undelivered numbers that were not found:
    destroyed, or erased by their owners. `erased` were left out because their owners erased or
    opted out since. `counted` is whether the file's own counters could be read; if not,
    `missing` counts only the gaps between reports that were found.
    """

    reports: int
    dead_letters: int
    broken: int
    missing: int
    erased: int
    counted: bool


def recover(
    aside: Path,
    file: OutboxFile,
    mark: Callable[[ServerPseudonym], OwnerMark],
    erased: Mapping[OwnerMark, int],
    *,
    max_bytes: int,
) -> Recovered:
    """Append the intact rows of an outbox that was set aside to the outbox in use.

    `erased` gives the time (ns) up to which an owner's reports are erased; those are left out, and
    so are entries that were carried over when the file was set aside. Safe beside a serving
    process: rows go in chunks, and InfluxDB overwrites equal points. Raises OutboxUnavailable if
    the outbox in use is full or a file cannot be used; a second call does the rest.
    """
    check_recoverable(aside)
    rows, broken = _RecoveredRows(file, max_bytes), set[int]()
    rows.seen |= {(Pending, id_) for id_ in carried_numbers(aside)}
    counters = Counters()
    left_out = 0
    try:
        for row in reports(aside, counters):
            if isinstance(row, Broken):
                broken.add(row.id)
            elif row.server and row.received_ns <= erased.get(mark(row.server), 0):
                left_out += 1
                rows.seen.add((type(row), row.id))
            else:
                rows.take(row)
    except OSError as error:
        raise OutboxUnavailable(f"{aside} cannot be read: {error.strerror}") from error
    rows.store()
    found = {id_ for kind, id_ in rows.seen if kind is Pending}
    return Recovered(
        reports=rows.reports,
        dead_letters=rows.dead_letters,
        broken=len(broken - found),
        missing=counters.missing(found | broken),
        erased=left_out,
        counted=counters.are_whole,
    )


class _RecoveredRows:
    """Collects recovered rows, each once, and stores them in chunks into the outbox in use."""

    def __init__(self, file: OutboxFile, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._waiting: list[Pending | DeadLetter] = []
        self.seen: set[tuple[type, int]] = set()
        self.reports = 0
        self.dead_letters = 0

    def take(self, row: Pending | DeadLetter) -> None:
        if (type(row), row.id) in self.seen:
            return
        self.seen.add((type(row), row.id))
        self._waiting.append(row)
        if len(self._waiting) == _CHUNK:
            self.store()

    def store(self) -> None:
        if self._file.used() > self._max_bytes:
            raise OutboxUnavailable(
                f"{self.reports} reports are recovered and the outbox has reached"
                " COLLECTOR_OUTBOX_MAX: run this again when they are delivered"
            )
        # By receive time, within one chunk.
        self._waiting.sort(key=lambda row: row.received_ns)
        with self._file.transaction():
            for row in self._waiting:
                if isinstance(row, DeadLetter):
                    self._file.put_dead_letter(row)
                    self.dead_letters += 1
                else:
                    self._file.insert(Entry(*row[1:]))
                    self.reports += 1
        self._waiting.clear()
