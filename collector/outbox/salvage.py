"""Finds rows in a damaged outbox by the types of their columns, since its schema may be lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from collector.lines import parse
from collector.outbox.queues import Queue
from collector.outbox.rows import ASL, DeadLetter, Pending, is_whole
from collector.privacy import ServerPseudonym, is_pseudonym
from collector.schema import NODE_REPORT, SERVER_REPORT, FieldType
from collector.sqlite.carve import Carved, Value, shape

_ENTRY: Final = {"nitib", "nitibi", "nitibn", "nitibitt"}
_REPORT: Final = _ENTRY | {"nitbti", "nitbtitt"} | {"ti", "tiii", "ni", "n", "ii"}
"""Shapes of rows of entries, of dead letters, and of the outbox's numbers."""
_TYPES: Final = {FieldType.INTEGER: int, FieldType.FLOAT: float, FieldType.STRING: str}
_RAW: Final = {measurement.name: measurement for measurement in (NODE_REPORT, SERVER_REPORT)}


@dataclass(frozen=True, slots=True)
class Broken:
    """A report or dead letter whose row was found with wrong content."""

    id: int


@dataclass(slots=True)
class Counters:
    """The numbers that a damaged outbox gave to its reports, as far as they are found.

    `given` is the highest, `delivered` the last delivered one by queue. `pruned` are those of
    reports that were delivered and deleted, `in_records` those in the queue of the records store.
    """

    given: int | None = None
    delivered: dict[Queue, int] = field(default_factory=dict)
    pruned: set[int] = field(default_factory=set)
    in_records: set[int] = field(default_factory=set)

    @property
    def are_whole(self) -> bool:
        """Whether the file's own counters were found."""
        return self.given is not None and Queue.INFLUX in self.delivered

    def missing(self, found: set[int]) -> int:
        """Return how many undelivered reports are not among `found`.

        A number after InfluxDB's cursor counts as undelivered unless it is known to be pruned; an
        earlier one only if the index of the records store has it.
        """
        delivered = self.delivered.get(Queue.INFLUX, min(found, default=1) - 1)
        last = self.given if self.given is not None else max(found, default=0)
        waiting = sum(delivered < id_ <= last for id_ in found | self.pruned)
        from_id = self.delivered.get(Queue.RECORDS, delivered)
        records = {id_ for id_ in self.in_records - found if from_id < id_ <= delivered}
        return max(0, last - delivered - waiting) + len(records)


def other_content(path: Path) -> tuple[dict[str, list[tuple[Any, ...]]], int]:
    """Read the readable content of a damaged outbox other than reports.

    Returns the rows of an earlier version, by table, that are not yet moved to the memory, and the
    file's highest row number. Raises OSError if the file cannot be read at all.
    """
    legacy: dict[str, list[tuple[Any, ...]]] = {}
    last = 0
    with Carved(path) as carved:
        for number, values in carved.rows(lambda types: shape(types) not in _ENTRY):
            last = max(last, number)
            if len(values) == 2 and values[0] == "entries" and isinstance(values[1], int):
                last = max(last, values[1])
            elif (row := _legacy(number, values)) is not None:
                table, content = row
                legacy.setdefault(table, []).append(content)
    return legacy, last


def _legacy(number: int, values: tuple[Value, ...]) -> tuple[str, tuple[Value, ...]] | None:
    """Return the earlier version's table that a row belongs to, and its columns, or None."""
    match values:
        case (str(owner), "opt-out" | "opt-in", int(), int()) if is_pseudonym(owner):
            return "owner_choices", values
        case (None, int(), str(server), str(), str(), int(), str(), str()):
            if not server or is_pseudonym(server):
                return "erasures", (number, *values[1:])
        case (None, str(owner), str()) if is_pseudonym(owner):
            return "erasure_notices", (number, *values[1:])
        case (str(owner), int()) if not number and is_pseudonym(owner):
            return "erased", values
        case (str(), str(), int()):
            return "tag_values", values
    return None


def reports(path: Path, counters: Counters) -> Iterator[Pending | DeadLetter | Broken]:
    """Yield the reports and dead letters of a damaged outbox, in no order; fill in `counters`.

    Raises OSError if the file cannot be read at all.
    """
    with Carved(path) as carved:
        for number, values in carved.rows(lambda types: shape(types) in _REPORT):
            match values:
                case (None, int(at), str(server), int(points), bytes(lines), *rest):
                    sum_, *whence = rest or (None,)
                    owner = ServerPseudonym(server) if server else None
                    entry = Pending(number, at, owner, points, lines, *map(str, whence))
                    whole = isinstance(sum_, int | None) and is_whole(entry, sum_)
                    yield entry if whole and _may_be_sent(entry) else Broken(number)
                case (None, int(at), str(server), bytes(line), str(reason), int(aside), *rest):
                    owner = ServerPseudonym(server) if server else None
                    letter = DeadLetter(number, at, owner, line, reason, aside, *map(str, rest))
                    yield letter if _may_be_sent(letter) else Broken(number)
                case ("entries", int(last)) if number:
                    counters.given = last
                case (str(queue), int(last), int(), int()) if queue in set(Queue):
                    counters.delivered[Queue(queue)] = last
                # Up to version 3 there was one queue.
                case (None, int(last)) if number == 1:
                    counters.delivered[Queue.INFLUX] = last
                case (None,) if number:
                    counters.pruned.add(number)
                case (int(one), int(same)) if not number and one == same:
                    counters.in_records.add(one)


def _may_be_sent(row: Pending | DeadLetter) -> bool:
    """Return whether a row may be delivered: lines of sender `asl` must follow our schema."""
    if row.sender != ASL:
        return True
    if isinstance(row, DeadLetter):
        return are_ours(row.line, 1)
    return are_ours(row.lines, row.points)


def are_ours(lines: bytes, points: int) -> bool:
    """Return whether `lines` are exactly `points` lines of our schema's raw measurements."""
    try:
        said = lines.decode().split("\n")
        return len(said) == points and all(map(_is_ours, said))
    except ValueError:
        return False


def _is_ours(line: str) -> bool:
    """Return whether a line is a point of a raw measurement. Raises ValueError if it is no line."""
    point = parse(line)
    measurement = _RAW.get(point.measurement)
    if measurement is None or point.time <= 0:
        return False
    fields = {one.name: _TYPES[one.type] for one in measurement.fields}
    return (
        point.tags.keys() <= {tag.name for tag in measurement.tags}
        and point.fields.keys() <= fields.keys()
        and all(type(value) is fields[name] for name, value in point.fields.items())
        and is_pseudonym(str(point.fields.get("server")))
    )
