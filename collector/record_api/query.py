"""Filters of the records API, from parameters of a URL to SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, or_

from collector.intakes.telemetrics.fields import (
    LONGEST_BUILD,
    is_classification,
    is_machine_id,
    is_number,
    is_severity,
)
from collector.problems import Reason, Refusal
from collector.records.tables import RECORDS

MOST_RECORDS: Final = 10_000
_DAY_S: Final = 86_400
LONGEST_BACK_S: Final = 30 * _DAY_S
"""Age in s above which records are never returned."""
_NS: Final = 10**9


@dataclass(frozen=True, slots=True)
class Query:
    """A reader's filters; None for those not given. `within_s` is the time since reception."""

    classification: str | None
    severity: int | None
    machine_id: str | None
    build: str | None
    from_id: int | None
    ts_capture: int | None
    within_s: int
    limit: int

    def conditions(self, now_ns: int, pseudonym: Callable[[str], str]) -> ColumnElement[bool]:
        """The SQL condition of these filters at a time (ns since 1970).

        `pseudonym` returns the pseudonym of a machine's id: a machine is found by its id or by its
        pseudonym, whichever the store holds.
        """
        columns = RECORDS.c
        wanted: list[Any] = [columns.stamp > now_ns - self.within_s * _NS]
        for column, value in (
            (columns.classification, self.classification),
            (columns.severity, self.severity),
            (columns.build, self.build),
        ):
            if value is not None:
                wanted.append(column == value)
        if self.machine_id is not None:
            owners = (self.machine_id, pseudonym(self.machine_id))
            wanted.append(or_(columns.machine_id == self.machine_id, columns.owner.in_(owners)))
        if self.from_id is not None:
            wanted.append(columns.id >= self.from_id)
        if self.ts_capture is not None:
            wanted.append(columns.ts_capture > self.ts_capture)
        return and_(*wanted)


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


def parse(given: Mapping[str, str]) -> Query | Refusal:
    """The filters in the parameters of a URL."""
    for name, value in given.items():
        if name not in _CHECKS:
            return Refusal(Reason.INVALID_PARAMETER, "there is no such filter")
        if not _CHECKS[name](value):
            return Refusal(Reason.INVALID_PARAMETER, f"{name} value is invalid")
    numbers = {name: int(value) for name, value in given.items() if value.isdigit()}
    within = numbers.get("created_in_sec", LONGEST_BACK_S)
    if "created_in_days" in numbers:
        within = numbers["created_in_days"] * _DAY_S
    build = given.get("build")
    return Query(
        classification=given.get("classification"),
        severity=numbers.get("severity"),
        machine_id=given.get("machine_id"),
        # As it is stored: os-release puts quotes around it.
        build=None if build is None else build.replace('"', "").replace("'", ""),
        from_id=numbers.get("from_id"),
        ts_capture=numbers.get("ts_capture"),
        within_s=min(within, LONGEST_BACK_S),
        limit=numbers.get("limit", MOST_RECORDS),
    )
