"""Reports out of an outbox that was set aside, behind all others of the one in use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collector.outbox.aside import carried_numbers, check_recoverable
from collector.outbox.errors import OutboxUnavailable
from collector.outbox.file import OutboxFile
from collector.outbox.rows import DeadLetter, Entry, Pending
from collector.outbox.salvage import Numbers, reports
from collector.privacy import OwnerMark, ServerPseudonym

_CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Recovered:
    """What came out of a damaged outbox, in reports but for `dead_letters`.

    `broken` were found and not as they were written. `missing` were given a number that is not
    found, past what was delivered: damaged beyond recognition, or erased by their owners. `erased`
    were left out, as their owners erased or opted out since. `counted`: whether the file still said
    how many there were; if not, `missing` are only the gaps between those found.
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
    """Put what is whole of an outbox that was set aside behind what the outbox in use holds.

    `erased` says up to when (ns) what an owner sent is erased: that is left out. Safe beside a
    process that serves: some at a time, and what InfluxDB has already overwrites itself.
    Entries that the process put into the new outbox itself are left out. Raises OutboxUnavailable
    where that would fill the outbox, or a file cannot be used; then the same again does the rest.
    """
    check_recoverable(aside)
    got, broken = _Got(file, max_bytes), set[int]()
    got.seen |= {(Pending, id_) for id_ in carried_numbers(aside)}
    given = delivered = None
    left_out = 0
    try:
        for row in reports(aside):
            if isinstance(row, Numbers):
                given = row.given if row.given is not None else given
                delivered = row.delivered if row.delivered is not None else delivered
            elif not isinstance(row, Pending | DeadLetter):
                broken.add(row.id)
            elif row.server and row.received_ns <= erased.get(mark(row.server), 0):
                left_out += 1
                got.seen.add((type(row), row.id))
            else:
                got.take(row)
    except OSError as error:
        raise OutboxUnavailable(f"{aside} cannot be read: {error.strerror}") from error
    got.store()
    found = {id_ for kind, id_ in got.seen if kind is Pending}
    first = delivered + 1 if delivered is not None else min(found | broken, default=1)
    last = given if given is not None else max(found | broken, default=0)
    waiting = sum(first <= id_ <= last for id_ in found | broken)
    return Recovered(
        reports=got.reports,
        dead_letters=got.dead_letters,
        broken=len(broken - found),
        missing=max(0, last - first + 1 - waiting),
        erased=left_out,
        counted=given is not None and delivered is not None,
    )


class _Got:
    """Rows on their way into the outbox in use, each once."""

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
        # In the order in which they came, as far as one chunk goes.
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
