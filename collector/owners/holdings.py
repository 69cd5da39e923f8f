"""Search for the reports of one server, in InfluxDB's raw data and in all workers' outboxes."""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from collector.influx import Influx, NoDatabase, Select, read, rows_of
from collector.lines import STEP_NS, Point, parse
from collector.outbox import Held, Outboxes
from collector.privacy import ServerPseudonym
from collector.schema import OWNER, RAW, RECORDS, Measurement, ReportLayout

_PREFIX: Final = 2
"""Digits of a pseudonym in InfluxDB's queries; one server in 256 has the same.

InfluxDB may log its queries, and no log may hold a pseudonym, so the rest is compared here.
"""

_EVER_NS: Final = 2**62


class Place(StrEnum):
    """Place that holds a report."""

    RAW = "raw"
    WAITING = "waiting"
    """In an outbox, not yet delivered to InfluxDB."""
    DELIVERED = "delivered"
    """In an outbox after delivery, for a replay if InfluxDB is restored from a backup."""
    DEAD = "dead"
    """A dead letter, which InfluxDB refused."""


@dataclass(frozen=True, slots=True)
class Report:
    """A stored report: its places, the server's point (None if it is missing), its nodes' points.

    `received_ns` is in ns since 1970.
    """

    received_ns: int
    places: frozenset[Place]
    server: Point | None
    nodes: tuple[Point, ...]


async def _rows(
    influx: Influx, measurement: Measurement, server: ServerPseudonym, first: int, last: int
) -> list[Point]:
    tags = [tag.name for tag in measurement.tags]
    names = [*tags, *(field.name for field in measurement.fields)]
    where = f'"{OWNER}" =~ /^{server[:_PREFIX]}/ AND time >= {first} AND time <= {last}'
    found = await read(influx, Select.rows(measurement, names, where, everywhere=True))
    points = []
    for row in rows_of(found):
        said = {name: value for name, value in row.items() if value is not None}
        if said.get(OWNER) == server:
            time = int(said.pop("time"))
            own = {name: str(said.pop(name)) for name in tags if name in said}
            points.append(Point(measurement.name, own, said, time))
    return points


def outbox_points(found: Iterable[Held]) -> list[tuple[Place, Point]]:
    """Return the points in outboxes' entries and dead letters, as InfluxDB would store them.

    Entries for the records store are left out: each has a point beside it.
    """
    lines: list[tuple[Place, bytes]] = []
    for held in found:
        entries = [(Place.WAITING, entry) for entry in held.waiting]
        entries += [(Place.DELIVERED, entry) for entry in held.delivered]
        lines += [
            (place, line)
            for place, entry in entries
            if entry.target != RECORDS
            for line in entry.lines.split(b"\n")
        ]
        lines += [(Place.DEAD, one.line) for one in held.dead if one.target != RECORDS]
    return [(place, parse(line.decode())) for place, line in lines]


def reports_of(
    points: Iterable[tuple[Place, Point]], layouts: Iterable[ReportLayout]
) -> list[Report]:
    """Join points of one server into reports, oldest first; each once, with all its places."""
    places: dict[tuple[str, int], set[Place]] = {}
    known: dict[tuple[str, int], Point] = {}
    for place, point in points:
        key = (point.measurement, point.time)
        places.setdefault(key, set()).add(place)
        known[key] = point
    reports: list[Report] = []
    for layout in layouts:
        heads = {at: point for (name, at), point in known.items() if name == layout.head.name}
        parts: dict[int, list[Point]] = {at: [] for at in heads}
        ordered = sorted(heads)
        for (name, at), point in sorted(known.items()):
            if layout.part is None or name != layout.part.name:
                continue
            head = _head_of(at, ordered, heads, layout.count)
            if head is not None:
                parts[head].append(point)
            else:
                reports.append(Report(at, frozenset(places[name, at]), None, (point,)))
        reports += [
            Report(at, frozenset(places[layout.head.name, at]), point, tuple(parts[at]))
            for at, point in heads.items()
        ]
    return sorted(reports, key=lambda report: report.received_ns)


def _head_of(at: int, ordered: Sequence[int], heads: Mapping[int, Point], count: str) -> int | None:
    """Return the time of the head of the report that the part at time `at` belongs to, or None."""
    number = bisect_right(ordered, at)
    if number == 0:
        return None
    head = ordered[number - 1]
    steps, rest = divmod(at - head, STEP_NS)
    return head if rest == 0 and 0 < steps <= int(heads[head].fields.get(count, 0)) else None


@dataclass(slots=True, eq=False)
class Holdings:
    """Finds the reports of a server in the measurements of `layouts`.

    Runs one search in InfluxDB at a time, since each reads a whole column.
    """

    influx: Influx
    outboxes: Outboxes
    layouts: Sequence[ReportLayout]
    _searching: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def of(self, server: ServerPseudonym) -> list[Report]:
        """Return all reports of a server, oldest first. Raises InfluxError, OutboxUnavailable."""
        # The outboxes first, so that a report delivered meanwhile is found twice and not missed.
        held = await asyncio.to_thread(self.outboxes.held, server)
        points = outbox_points(held.values())
        rows = await self.raw(server, until_ns=_EVER_NS)
        return reports_of([*points, *((Place.RAW, point) for point in rows)], self.layouts)

    async def raw(self, server: ServerPseudonym, *, until_ns: int, from_ns: int = 0) -> list[Point]:
        """Return a server's raw points in a time span (ns, inclusive), heads before their parts.

        Reads a field of every raw point in the span. Raises InfluxError.
        """
        found: list[Point] = []
        async with self._searching:
            for measurement in (one for layout in self.layouts for one in layout.measurements):
                # The database of a sender that was never enabled does not exist.
                with contextlib.suppress(*([] if measurement.database == RAW else [NoDatabase])):
                    found += await _rows(self.influx, measurement, server, from_ns, until_ns)
        return found
