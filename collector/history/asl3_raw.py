"""Reports of an ASL3-Usage database as raw points: their timestamps, marks, and which are there."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Final

from collector.history.asl3_rows import IMPORTED, OldReport, PassedOver
from collector.influx import Influx, NoDatabase, Select, read, rows_of
from collector.lines import NS_PER_DAY, Stamper, tag_set
from collector.outbox import Entry
from collector.schema import REGISTRATION, SERVER_REPORT, UNKNOWN

INSTANCE: Final = 999
"""The instance number of the import's timestamps; no collector may have it."""

_NS: Final = 10**9
_STEP: Final = 1000
_SLOTS: Final = _NS // _STEP
_SILENT: Final = tag_set({REGISTRATION.name: "none"}).encode()
_UNKNOWN: Final = tag_set({REGISTRATION.name: UNKNOWN}).encode()


class SecondStamper(Stamper):
    """Timestamps of points that are known to the second: each its own within that second.

    They are not rising, as those of a process are: a report's timestamps begin where `now_ns`
    says if that is free, else just after, whatever came before. They are of the instance INSTANCE.
    """

    def __init__(self) -> None:
        super().__init__(instance=INSTANCE)
        self._taken: dict[int, set[int]] = {}

    def hold(self, first_ns: int, count: int) -> None:
        """Give away none of these: they are points that exist."""
        slot = first_ns % _NS // _STEP
        self._taken.setdefault(first_ns // _NS, set()).update(range(slot, slot + count))

    def take(self, now_ns: int, count: int) -> range:
        """`count` timestamps in the second of `now_ns`. Raises ValueError where it is full."""
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
    """A raw server report that is there."""

    time_ns: int
    server: str
    nodes: int
    imported: bool


class DayReports:
    """The raw server reports of one day, ours and imported ones."""

    def __init__(self, *stored: StoredReport) -> None:
        self.imported = {(s.server, s.time_ns // _NS): s for s in stored if s.imported}
        self._ours = {s.server for s in stored if not s.imported}

    def has(self, server: str, report: OldReport) -> PassedOver | None:
        """Why a report need not be brought, or None."""
        # A later copy of the table may lack the row whose time the report was given.
        near = range(report.second - 1, report.second + 2)
        if any((server, second) in self.imported for second in near):
            return PassedOver.ALREADY_IMPORTED
        # Of a node's reports of a day the last one counts, and that is ours. Where both servers
        # were sent the same reports, bringing the old one's copy would count each twice.
        return PassedOver.REPORTED_TO_US if server in self._ours else None


async def stored_reports(influx: Influx, day: int) -> DayReports:
    """The raw server reports of a day, in days since 1970. Raises InfluxError."""
    start = day * NS_PER_DAY
    names = ("server", "nodes", IMPORTED)
    where = f"time >= {start} AND time < {start + NS_PER_DAY}"
    try:
        found = await read(influx, Select.rows(SERVER_REPORT, names, where))
    except NoDatabase:
        return DayReports()
    return DayReports(
        *(
            StoredReport(int(row["time"]), row["server"], int(row["nodes"]), bool(row[IMPORTED]))
            for row in rows_of(found)
        )
    )


def marked(entry: Entry) -> bytes:
    """The lines of a report, marked as imported, and silent on what the table did not have.

    A body without registrations reads as a node without any. Clients send nothing before one of
    their nodes is registered, so `none` would be untrue; what is not known is `unknown`.
    """
    server, *nodes = entry.lines.split(b"\n")
    fields, _, time = server.rpartition(b" ")
    mark = b"%b,%b=1i %b" % (fields, IMPORTED.encode(), time)
    return b"\n".join([mark, *(node.replace(_SILENT, _UNKNOWN, 1) for node in nodes)])
