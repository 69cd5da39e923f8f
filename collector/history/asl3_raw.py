"""Raw points of imported reports: their timestamps and marks, and reports already stored."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Final

from collector.history.asl3_rows import IMPORTED, OldReport, Skipped
from collector.influx import Influx, Select, read_if_there, rows_of
from collector.lines import NS_PER_DAY, Stamper, tag_set
from collector.outbox import Entry
from collector.schema import REGISTRATION, SERVER_REPORT, UNKNOWN

INSTANCE: Final = 999
"""Instance number in imported timestamps, which no collector may use."""

_NS: Final = 10**9
_STEP: Final = 1000
_SLOTS: Final = _NS // _STEP
_SILENT: Final = tag_set({REGISTRATION.name: "none"}).encode()
_UNKNOWN: Final = tag_set({REGISTRATION.name: UNKNOWN}).encode()


class SecondStamper(Stamper):
    """Unique timestamps for reports whose time is known to the second only.

    Unlike those of a process, they do not rise: a report gets the timestamps at `now_ns` if they
    are free, else the next free ones in the same second. They end in INSTANCE.
    """

    def __init__(self) -> None:
        super().__init__(instance=INSTANCE)
        self._taken: dict[int, set[int]] = {}

    def hold(self, first_ns: int, count: int) -> None:
        """Reserve timestamps of points that exist."""
        slot = first_ns % _NS // _STEP
        self._taken.setdefault(first_ns // _NS, set()).update(range(slot, slot + count))

    def take(self, now_ns: int, count: int) -> range:
        """Return `count` timestamps in the second of `now_ns`. Raises ValueError if it is full."""
        second, wanted = now_ns // _NS, now_ns % _NS // _STEP
        taken = self._taken.setdefault(second, set())
        for slot in chain(range(wanted, _SLOTS - count + 1), range(min(wanted, _SLOTS - count))):
            if taken.isdisjoint(range(slot, slot + count)):
                taken.update(range(slot, slot + count))
                first = second * _NS + slot * _STEP + INSTANCE
                return range(first, first + count * _STEP, _STEP)
        raise ValueError("a second has no room for another report")


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A raw server report that is stored."""

    time_ns: int
    server: str
    nodes: int
    imported: bool


class DayReports:
    """Stored raw server reports of one day, received and imported ones."""

    def __init__(self, *stored: StoredReport) -> None:
        self.imported = {(s.server, s.time_ns // _NS): s for s in stored if s.imported}
        self._ours = {s.server for s in stored if not s.imported}

    def skip_reason(self, server: str, report: OldReport) -> Skipped | None:
        """The reason why a report must not be imported, or None."""
        # A later copy of the table may lack the row that gave the report its time.
        near = range(report.second - 1, report.second + 2)
        if any((server, second) in self.imported for second in near):
            return Skipped.ALREADY_IMPORTED
        # The last report of a day counts, and that is the received one. If senders reported to
        # both servers, importing the old server's copies would count reports twice.
        return Skipped.REPORTED_TO_US if server in self._ours else None


async def stored_reports(influx: Influx, day: int) -> DayReports:
    """Read the raw server reports of a day (days since 1970). Raises InfluxError."""
    start = day * NS_PER_DAY
    names = ("server", "nodes", IMPORTED)
    where = f"time >= {start} AND time < {start + NS_PER_DAY}"
    found = await read_if_there(influx, Select.rows(SERVER_REPORT, names, where))
    return DayReports(
        *(
            StoredReport(int(row["time"]), row["server"], int(row["nodes"]), bool(row[IMPORTED]))
            for row in rows_of(found)
        )
    )


def time_of(report: OldReport, server: str) -> int:
    """The time of a report in ns: a place in its second that is the same in each run."""
    return report.second * _NS + int(server, 16) % _SLOTS * _STEP


def imported_lines(entry: Entry) -> bytes:
    """The lines of a report with the mark `imported` and registration `unknown`.

    The table does not have registrations, so the intake reads `none`. That would be wrong: clients
    send nothing before one of their nodes is registered.
    """
    server, *nodes = entry.lines.split(b"\n")
    fields, _, time = server.rpartition(b" ")
    mark = b"%b,%b=1i %b" % (fields, IMPORTED.encode(), time)
    return b"\n".join([mark, *(node.replace(_SILENT, _UNKNOWN, 1) for node in nodes)])
