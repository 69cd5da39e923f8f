"""Parser of LibreNMS's reports. Pure.

A client sends one report a day and does not repeat it, so one bad value must not invalidate it:
invalid parts are left out and counted. Only `uuid` and `data` can make a report invalid.
docs/senders/librenms.md has the rules.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel, Field, WithJsonSchema

from collector.intakes.librenms.cleaning import cleaned
from collector.intakes.librenms.form import json_field
from collector.lines import label
from collector.problems import Reason, Refusal

MOST_GROUPS: Final = 200
MOST_TOTALS: Final = 20_000
MOST_PAIRS: Final = 20_000
MOST_TOTAL: Final = 10**9
"""Largest total that is accepted: one larger made-up number would dominate all sums."""
_MOST_OID: Final = 128

_UUID: Final = "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"
_UUID_FORM: Final = re.compile(_UUID)
_OID: Final = re.compile(rf"[A-Za-z0-9.:_-]{{1,{_MOST_OID}}}")
_EXACT_NAMES: Final = frozenset({"version", "release"})
"""Columns of groups that have one row, which counts the install itself."""
_TOTAL: Final = "total"
_COLUMNS: Final = {"ROUND(`ifSpeed`/1000/1000)": "ifSpeed"}
"""Columns that earlier clients named by an SQL expression, and their names."""

_ROWS_SCHEMA: Final = {
    "type": "object",
    "minProperties": 1,
    "description": "Query to its rows: a list of objects, each with `total` first and then at most"
    " one column, whose name and value are counted. What is neither is left out.",
    "examples": [{"os": [{"total": 12, "os": "ios"}], "vrfs": [{"total": 3}]}],
}
_INFO_SCHEMA: Final = {
    "description": "A list of objects with `count`, `os`, `sysDescr` and `sysObjectID`. What is"
    " not one is left out.",
}


class LibreNMSReport(BaseModel):
    """The JSON object in the form's field `data`."""

    uuid: Annotated[str, Field(pattern=rf"^\s*{_UUID}\s*$")]
    data: Annotated[dict[str, Any], WithJsonSchema(_ROWS_SCHEMA)]
    info: Annotated[Any, WithJsonSchema(_INFO_SCHEMA)] = None


class Total(NamedTuple):
    """A count, with the name and value of its column, both None in a row of one column."""

    name: str | None
    value: str | None
    total: int


class Pair(NamedTuple):
    """A cleaned pair of sysObjectID and sysDescr, with its operating system and device count."""

    os: str
    oid: str
    descr: str
    devices: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A parsed report: its install's UUID in lower case, totals by group, and pairs.

    `ignored` counts the parts left out, by kind: `group`, `total`, `info`.
    """

    uuid: str
    groups: Mapping[str, tuple[Total, ...]]
    pairs: tuple[Pair, ...]
    ignored: Mapping[str, int]

    @property
    def versions(self) -> dict[str, str]:
        """Version or release by group, of groups with one row that has it."""
        return {
            group: totals[0].value or ""
            for group, totals in self.groups.items()
            if len(totals) == 1 and totals[0].name in _EXACT_NAMES
        }


def uuid_of(text: str) -> str | None:
    """A UUID in canonical lower-case form; None for any other text."""
    found = _UUID_FORM.fullmatch(text.strip())
    return None if found is None else found[0].lower()


def read(body: bytes) -> Reading | Refusal:
    """Parse the body of a request to `log.php`, or the query of its URL."""
    try:
        said = json_field(body, "data")
    except ValueError:
        return Refusal(Reason.MALFORMED_JSON, "the field data holds no JSON object")
    if not isinstance(said, dict):
        return Refusal(Reason.MALFORMED_JSON, "the field data holds no JSON object")
    given = said.get("uuid")
    uuid = uuid_of(given) if isinstance(given, str) else None
    if uuid is None:
        return Refusal(Reason.INVALID_FIELD, "uuid: is missing, or no UUID")
    data = said.get("data")
    if not isinstance(data, dict) or not data:
        return Refusal(Reason.INVALID_FIELD, "data: must be an object with at least one group")
    ignored: Counter[str] = Counter()
    groups = _groups(data, ignored)
    pairs = tuple(_pairs(said.get("info"), ignored))
    return Reading(uuid, groups, pairs, dict(+ignored))


def _groups(data: Mapping[str, Any], ignored: Counter[str]) -> dict[str, tuple[Total, ...]]:
    groups: dict[str, tuple[Total, ...]] = {}
    left = MOST_TOTALS
    for name, rows in data.items():
        group = label(name)
        found = _rows(rows)
        if found is None or group in groups or len(groups) == MOST_GROUPS:
            ignored["group"] += 1
            continue
        totals = _totals(found[:left], ignored)
        ignored["total"] += max(0, len(found) - left)
        left = max(0, left - len(found))
        groups[group] = totals
    return groups


def _rows(rows: Any) -> list[Any] | None:  # noqa: ANN401 - JSON is anything
    """The rows of a group: a list, or an object that PHP made of one; None for anything else."""
    if isinstance(rows, list):
        return rows
    if not isinstance(rows, dict):
        return None
    values = list(rows.values())
    return values if values and all(isinstance(value, dict) for value in values) else [rows]


def _totals(rows: Iterable[Any], ignored: Counter[str]) -> tuple[Total, ...]:
    """The totals of a group; rows with the same name and value are added up."""
    sums: dict[tuple[str | None, str | None], int] = {}
    for row in rows:
        total = _total(row)
        if total is None:
            ignored["total"] += 1
            continue
        key = (total.name, total.value)
        sums[key] = min(MOST_TOTAL, sums.get(key, 0) + total.total)
    return tuple(Total(name, value, total) for (name, value), total in sums.items())


def _total(row: Any) -> Total | None:  # noqa: ANN401 - JSON is anything
    """The total of a row: `total` or its first value, with the name and value of the next one."""
    if not isinstance(row, dict) or not row:
        return None
    counted = _TOTAL if _TOTAL in row else next(iter(row))
    number = whole_number(row[counted])
    if number is None:
        return None
    others = [name for name in row if name != counted]
    if not others:
        return Total(None, None, number)
    column = _COLUMNS.get(others[0], others[0])
    name, text = label(column), as_text(row[others[0]])
    if name in _EXACT_NAMES:
        # Earlier clients sent the number of migrations in both columns. Versions are not cleaned.
        return Total(name, label(text), 1)
    return Total(name, label(cleaned(text)), number)


def whole_number(value: Any) -> int | None:  # noqa: ANN401 - JSON is anything
    """A whole number from 0 to `MOST_TOTAL`, also from text; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= MOST_TOTAL else None


def as_text(value: Any) -> str:  # noqa: ANN401 - JSON is anything
    """A value of a column as text: numbers as PHP writes them, null as empty text."""
    match value:
        case str():
            return value
        case bool():
            return str(int(value))
        case float() if value.is_integer():
            return str(int(value))
        case int() | float():
            return str(value)[:64]
    return ""


def _pairs(info: Any, ignored: Counter[str]) -> Iterator[Pair]:  # noqa: ANN401 - JSON is anything
    if info is None:
        return
    rows = _rows(info)
    if rows is None:
        ignored["info"] += 1
        return
    for number, row in enumerate(rows):
        pair = _pair(row) if number < MOST_PAIRS else None
        if pair is None:
            ignored["info"] += 1
        else:
            yield pair


def _pair(row: Any) -> Pair | None:  # noqa: ANN401 - JSON is anything
    if not isinstance(row, dict):
        return None
    descr, oid = row.get("sysDescr"), row.get("sysObjectID")
    count = whole_number(row.get("count", 1))
    if not isinstance(descr, str) or not isinstance(oid, str) or count is None:
        return None
    oid = oid.strip()
    if not _OID.fullmatch(oid):
        return None
    return Pair(label(as_text(row.get("os"))), oid, cleaned(descr), count)
