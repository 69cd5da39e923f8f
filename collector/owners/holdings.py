"""Finds the reports of one server: its raw rows, and its rows in the outboxes of all workers."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from collector.influx import Influx, Select, read, rows_of
from collector.lines import Point, parse
from collector.outbox import Held, Outboxes
from collector.privacy import ServerPseudonym
from collector.schema import NODE_REPORT, SERVER_REPORT, Measurement

_PREFIX: Final = 2
"""Digits of a pseudonym that InfluxDB is asked for, which one server in 256 shares.

The rest is compared here: InfluxDB may log its queries, and a pseudonym must get into no log.
"""
_STEP_NS: Final = 1000


class Place(StrEnum):
    """Where a report is held."""

    RAW = "raw"
    WAITING = "waiting"
    """In the outbox, not in InfluxDB yet."""
    DELIVERED = "delivered"
    """In the outbox still, in case that InfluxDB is restored from a backup."""
    DEAD = "dead"
    """Refused by InfluxDB and set aside."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report that is held: where, the server's point (None where it has gone), its nodes'."""

    received_ns: int
    places: frozenset[Place]
    server: Point | None
    nodes: tuple[Point, ...]


async def raw_rows(
    influx: Influx, server: ServerPseudonym, *, until_ns: int, from_ns: int = 0
) -> list[Point]:
    """The raw points of a server in a span of time, its own before its nodes'.

    Reads a field of every raw point in the span. Raises InfluxError.
    """
    found: list[Point] = []
    for measurement in (SERVER_REPORT, NODE_REPORT):
        found += await _rows(influx, measurement, server, from_ns, until_ns)
    return found


async def _rows(
    influx: Influx, measurement: Measurement, server: ServerPseudonym, first: int, last: int
) -> list[Point]:
    tags = [tag.name for tag in measurement.tags]
    names = [*tags, *(field.name for field in measurement.fields)]
    where = f'"server" =~ /^{server[:_PREFIX]}/ AND time >= {first} AND time <= {last}'
    found = await read(influx, Select.rows(measurement, names, where, everywhere=True))
    points = []
    for row in rows_of(found):
        said = {name: value for name, value in row.items() if value is not None}
        if said.get("server") == server:
            time = int(said.pop("time"))
            own = {name: str(said.pop(name)) for name in tags if name in said}
            points.append(Point(measurement.name, own, said, time))
    return points


def outbox_points(found: Iterable[Held]) -> list[tuple[Place, Point]]:
    """The points of entries and dead letters of any outboxes, as they would be in InfluxDB."""
    lines: list[tuple[Place, bytes]] = []
    for held in found:
        entries = [(Place.WAITING, entry.lines) for entry in held.waiting]
        entries += [(Place.DELIVERED, entry.lines) for entry in held.delivered]
        lines += [(place, line) for place, block in entries for line in block.split(b"\n")]
        lines += [(Place.DEAD, letter.line) for letter in held.dead]
    return [(place, parse(line.decode())) for place, line in lines]


def reports_of(points: Iterable[tuple[Place, Point]]) -> list[Report]:
    """The reports that points of one server make, oldest first; each once, however often held.

    A report's points have timestamps one step apart, its server's first.
    """
    places: dict[tuple[str, int], set[Place]] = {}
    known: dict[tuple[str, int], Point] = {}
    for place, point in points:
        key = (point.measurement, point.time)
        places.setdefault(key, set()).add(place)
        known[key] = point
    heads = sorted(time for name, time in known if name == SERVER_REPORT.name)
    nodes: dict[int, list[Point]] = {time: [] for time in heads}
    alone: list[Point] = []
    for (name, time), point in sorted(known.items()):
        if name != SERVER_REPORT.name:
            head = _head(heads, known, time)
            (alone if head is None else nodes[head]).append(point)
    reports = [
        Report(
            time,
            frozenset(places[SERVER_REPORT.name, time]),
            known[SERVER_REPORT.name, time],
            tuple(nodes[time]),
        )
        for time in heads
    ]
    reports += [
        Report(point.time, frozenset(places[NODE_REPORT.name, point.time]), None, (point,))
        for point in alone
    ]
    return sorted(reports, key=lambda report: report.received_ns)


def _head(heads: Sequence[int], known: dict[tuple[str, int], Point], time: int) -> int | None:
    """The time of the server's point of the report that a node's point of a time belongs to."""
    number = bisect_right(heads, time)
    if number == 0:
        return None
    head = heads[number - 1]
    steps, rest = divmod(time - head, _STEP_NS)
    most = int(known[SERVER_REPORT.name, head].fields.get("nodes", 0))
    return head if rest == 0 and 0 < steps <= most else None


class Holdings:
    """Finds what is held. One search of InfluxDB at a time: each reads all of a column."""

    def __init__(self, influx: Influx, outboxes: Outboxes) -> None:
        self._influx = influx
        self._outboxes = outboxes
        self.searching = asyncio.Lock()

    async def of(self, server: ServerPseudonym, *, until_ns: int) -> list[Report]:
        """All reports held of a server, oldest first. Raises InfluxError, OutboxUnavailable."""
        # The outboxes first: what is on its way meanwhile is seen twice rather than not at all.
        held = await asyncio.to_thread(self._outboxes.held, server)
        points = outbox_points(held.values())
        rows = await self.raw(server, until_ns=until_ns)
        return reports_of([*points, *((Place.RAW, point) for point in rows)])

    async def raw(self, server: ServerPseudonym, *, until_ns: int, from_ns: int = 0) -> list[Point]:
        """A server's raw points in a span of time. Raises InfluxError."""
        async with self.searching:
            return await raw_rows(self._influx, server, until_ns=until_ns, from_ns=from_ns)
