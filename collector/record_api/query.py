"""Filters of the records API, from parameters of a URL to SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, and_, or_

from collector.intakes.telemetrics.fields import (
    LONGEST_BUILD,
    is_classification,
    is_machine_id,
    is_number,
    is_severity,
    unquoted,
)
from collector.problems import Reason, Refusal
from collector.records.tables import RECORDS

MOST_RECORDS: Final = 10_000
_DAY_S: Final = 86_400
LONGEST_BACK_S: Final = 30 * _DAY_S
"""Age in s above which records are never returned."""
_NS: Final = 10**9


class Query(NamedTuple):
    """A reader's filters as a condition of SQL, and the most records wanted."""

    where: ColumnElement[bool]
    limit: int


_CHECKS: Final[Mapping[str, Callable[[str], bool]]] = {
    "classification": is_classification,
    "severity": is_severity,
    "machine_id": is_machine_id,
    "build": lambda text: 0 < len(text) <= LONGEST_BUILD and text.isprintable(),
    "created_in_days": is_number,
    "created_in_sec": is_number,
    "from_id": is_number,
    "ts_capture": is_number,
    "limit": lambda text: is_number(text) and int(text) <= MOST_RECORDS,
}
_CONDITIONS: Final[Mapping[str, Callable[[str], ColumnElement[bool]]]] = {
    "classification": lambda text: RECORDS.c.classification == text,
    "severity": lambda text: RECORDS.c.severity == int(text),
    "build": lambda text: RECORDS.c.build == unquoted(text),
    "from_id": lambda text: RECORDS.c.id >= int(text),
    "ts_capture": lambda text: RECORDS.c.ts_capture > int(text),
}
"""Conditions of the filters that concern one column alone."""


def parse(
    given: Mapping[str, str], now_ns: int, pseudonym: Callable[[str], str]
) -> Query | Refusal:
    """The filters in the parameters of a URL, at a time in ns since 1970.

    `pseudonym` returns the pseudonym of a machine's id: a machine is found by its id or by its
    pseudonym, whichever the store holds.
    """
    for name, value in given.items():
        if name not in _CHECKS:
            return Refusal(Reason.INVALID_PARAMETER, "there is no such filter")
        if not _CHECKS[name](value):
            return Refusal(Reason.INVALID_PARAMETER, f"{name} value is invalid")
    columns = RECORDS.c
    numbers = {name: int(value) for name, value in given.items() if value.isdigit()}
    within_s = numbers.get("created_in_sec", LONGEST_BACK_S)
    if "created_in_days" in numbers:
        within_s = numbers["created_in_days"] * _DAY_S
    wanted = [columns.stamp > now_ns - min(within_s, LONGEST_BACK_S) * _NS]
    wanted += [made(given[name]) for name, made in _CONDITIONS.items() if name in given]
    if (machine_id := given.get("machine_id")) is not None:
        owners = (machine_id, pseudonym(machine_id))
        wanted.append(or_(columns.machine_id == machine_id, columns.owner.in_(owners)))
    return Query(and_(*wanted), numbers.get("limit", MOST_RECORDS))
