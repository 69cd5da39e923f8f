"""Finds the rows of a damaged outbox by their shape alone: its schema may be gone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from collector.lines import parse
from collector.outbox.rows import ASL, DeadLetter, Pending, is_whole
from collector.privacy import ServerPseudonym
from collector.schema import NODE_REPORT, SERVER_REPORT, FieldType
from collector.sqlite.carve import Carved, Types, Value, shape

_PSEUDONYM: Final = re.compile(r"[0-9a-f]{16}")
_ENTRY: Final = {"nitib", "nitibi", "nitibn", "nitibitt"}
_DEAD_LETTER: Final = {"nitbti", "nitbtitt"}
_CURSOR: Final = "ni"
_TYPES: Final = {FieldType.INTEGER: int, FieldType.FLOAT: float, FieldType.STRING: str}
_RAW: Final = {measurement.name: measurement for measurement in (NODE_REPORT, SERVER_REPORT)}


@dataclass(slots=True)
class Kept:
    """What a damaged outbox still tells beside its reports.

    `legacy` are rows of an earlier version that the memory does not have yet, by table; `last` is
    the file's highest row number.
    """

    legacy: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    last: int = 0


@dataclass(frozen=True, slots=True)
class Broken:
    """A report or a dead letter that is there and is not as it was written."""

    id: int


@dataclass(frozen=True, slots=True)
class Numbers:
    """Up to which number reports were given, or were delivered; where the file still says so."""

    given: int | None = None
    delivered: int | None = None


def kept(path: Path) -> Kept:
    """What can be read beside reports. Raises OSError where nothing can be."""
    found = Kept()
    with Carved(path) as carved:
        for number, values in carved.rows(lambda types: shape(types) not in _ENTRY):
            found.last = max(found.last, number)
            if len(values) == 2 and values[0] == "entries" and isinstance(values[1], int):
                found.last = max(found.last, values[1])
            elif (row := _legacy(number, values)) is not None:
                table, content = row
                found.legacy.setdefault(table, []).append(content)
    return found


def _legacy(number: int, values: tuple[Value, ...]) -> tuple[str, tuple[Value, ...]] | None:
    """The table of an earlier version that a row is of, and its content."""
    match values:
        case (str(owner), "opt-out" | "opt-in", int(), int()) if _is_name(owner):
            return "owner_choices", values
        case (None, int(), str(server), str(), str(), int(), str(), str()):
            if not server or _is_name(server):
                return "erasures", (number, *values[1:])
        case (None, str(owner), str()) if _is_name(owner):
            return "erasure_notices", (number, *values[1:])
        case (str(owner), int()) if not number and _is_name(owner):
            return "erased", values
        case (str(), str(), int()):
            return "tag_values", values
    return None


def reports(path: Path) -> Iterator[Pending | DeadLetter | Broken | Numbers]:
    """The reports and dead letters of a damaged outbox, in no order; and what it counted.

    Raises OSError where nothing can be read.
    """
    with Carved(path) as carved:
        for number, values in carved.rows(_may_be_report):
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
                    yield Numbers(given=last)
                case (None, int(last)) if number == 1:
                    yield Numbers(delivered=last)


def _may_be_sent(row: Pending | DeadLetter) -> bool:
    """Whether the lines of a report of `asl` are as that intake makes them; others' may be any."""
    if row.sender != ASL:
        return True
    if isinstance(row, DeadLetter):
        return are_ours(row.line, 1)
    return are_ours(row.lines, row.points)


def are_ours(lines: bytes, points: int) -> bool:
    """Whether these are so many lines of our schema's raw measurements."""
    try:
        said = lines.decode().split("\n")
        return len(said) == points and all(map(_is_ours, said))
    except ValueError:
        return False


def _is_ours(line: str) -> bool:
    """Whether a line is a point of a raw measurement. Raises ValueError for what is no line."""
    point = parse(line)
    measurement = _RAW.get(point.measurement)
    if measurement is None or point.time <= 0:
        return False
    fields = {one.name: _TYPES[one.type] for one in measurement.fields}
    return (
        point.tags.keys() <= {tag.name for tag in measurement.tags}
        and point.fields.keys() <= fields.keys()
        and all(type(value) is fields[name] for name, value in point.fields.items())
        and _is_name(str(point.fields.get("server")))
    )


def _may_be_report(types: Types) -> bool:
    return shape(types) in {*_ENTRY, *_DEAD_LETTER, _CURSOR, "ti"}


def _is_name(text: str) -> bool:
    return _PSEUDONYM.fullmatch(text) is not None
