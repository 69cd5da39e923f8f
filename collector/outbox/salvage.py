"""What the rows of a damaged outbox were, told by their shape alone: its schema may be gone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from collector.admission import TagValue
from collector.lines import parse
from collector.outbox.carve import Carved, Types, Value
from collector.outbox.owners import Action, Asked, Choice, Notice, State
from collector.outbox.rows import DeadLetter, Pending, is_whole
from collector.privacy import OwnerMark, ServerPseudonym
from collector.schema import NODE_REPORT, SERVER_REPORT, FieldType

_PSEUDONYM: Final = re.compile(r"[0-9a-f]{16}")
_ENTRY: Final = {"nitib", "nitibi", "nitibn"}
_DEAD_LETTER: Final = "nitbti"
_CURSOR: Final = "ni"
_TYPES: Final = {FieldType.INTEGER: int, FieldType.FLOAT: float, FieldType.STRING: str}
_RAW: Final = {measurement.name: measurement for measurement in (NODE_REPORT, SERVER_REPORT)}


@dataclass(slots=True)
class Kept:
    """What a damaged outbox still tells beside its reports; `last` is its highest row number."""

    choices: list[Choice] = field(default_factory=list)
    erasures: list[Asked] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    erased: list[Notice] = field(default_factory=list)
    tag_values: list[TagValue] = field(default_factory=list)
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
    """What can be read for owners, and of tags. Raises OSError where nothing can be."""
    found = Kept()
    with Carved(path) as carved:
        for number, values in carved.rows(lambda types: _shape(types) not in _ENTRY):
            found.last = max(found.last, number)
            try:
                _keep(found, number, values)
            except (ValueError, TypeError):
                continue
    return found


def _keep(found: Kept, number: int, values: tuple[Value, ...]) -> None:
    match values:
        case (str(owner), "opt-out" | "opt-in" as choice, int(at), int()) if _is_name(owner):
            found.choices.append(Choice(OwnerMark(owner), choice == "opt-out", at))
        case (None, int(asked), str(server), str(action), str(state), int(until), str(f), str(p)):
            json.loads(f or "{}")
            json.loads(p or "{}")
            if server and not _is_name(server):
                return
            known = ServerPseudonym(server)
            found.erasures.append(
                Asked(number, asked, known, Action(action), State(state), until, f, p)
            )
        case (None, str(owner), str(days)) if _is_name(owner):
            found.notices.append(Notice(OwnerMark(owner), number, days))
        case (str(owner), int(at)) if not number and _is_name(owner):
            found.erased.append(Notice(OwnerMark(owner), at, ""))
        case ("entries", int(last)) if number:
            found.last = max(found.last, last)
        case (str(tag), str(value), int(day)):
            found.tag_values.append(TagValue(tag, value, day))


def reports(path: Path) -> Iterator[Pending | DeadLetter | Broken | Numbers]:
    """The reports and dead letters of a damaged outbox, in no order; and what it counted.

    Raises OSError where nothing can be read.
    """
    with Carved(path) as carved:
        for number, values in carved.rows(_may_be_report):
            match values:
                case (None, int(at), str(server), int(points), bytes(lines), *rest):
                    entry = Pending(number, at, ServerPseudonym(server), points, lines)
                    (sum_,) = rest or (None,)
                    whole = isinstance(sum_, int | None) and is_whole(entry, sum_)
                    yield entry if whole and are_ours(lines, points) else Broken(number)
                case (None, int(at), str(server), bytes(line), str(reason), int(aside)):
                    letter = DeadLetter(number, at, ServerPseudonym(server), line, reason, aside)
                    yield letter if are_ours(line, 1) else Broken(number)
                case ("entries", int(last)) if number:
                    yield Numbers(given=last)
                case (None, int(last)) if number == 1:
                    yield Numbers(delivered=last)


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
    return _shape(types) in {*_ENTRY, _DEAD_LETTER, _CURSOR, "ti"}


def _shape(types: Types) -> str:
    """A letter a column: null, integer, float, text, blob."""
    return "".join(
        "n" if t == 0 else "f" if t == 7 else "i" if t < 12 else "t" if t % 2 else "b"
        for t in types
    )


def _is_name(text: str) -> bool:
    return _PSEUDONYM.fullmatch(text) is not None
