"""One event of a day, its point in `event`, and its English text. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from collector.days import day_ns, day_of, start_of
from collector.lines import FieldValue, line, tag_set
from collector.schema import ASL_VERSION, ASTERISK_VERSION, EVENT

INTAKE: Final = "intake"
"""Subject of outages."""
OPERATOR: Final = "operator"
"""Subject of notes."""
SOFTWARE: Final = {ASL_VERSION.name: "AllStarLink", ASTERISK_VERSION.name: "Asterisk"}
"""Software of the versions that are events, by the dimension that counts them."""


class Kind(StrEnum):
    """The kind of an event; the tag `kind` of its point."""

    VERSION = "version"
    PACKAGE = "package"
    OUTAGE = "outage"
    NOTE = "note"


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """An event of a day (UTC).

    `subject` and `item` identify it among those of its kind and day: a dimension and a version, a
    package and its version, `intake` and an outage's first hour (`04:00`), `operator` and a note's
    number. `text` says it in English. An outage has its length in `hours`, and the number of
    reports that were `expected` in them.
    """

    day: date
    kind: Kind
    subject: str
    item: str
    text: str
    hours: int = field(default=0, kw_only=True)
    expected: int = field(default=0, kw_only=True)

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the event's point."""
        return {"kind": self.kind.value, "subject": self.subject, "item": self.item}

    @property
    def begin(self) -> datetime:
        """Time at which an outage began, UTC; the start of the day of any other event."""
        if self.kind is not Kind.OUTAGE:
            return start_of(self.day)
        return start_of(self.day) + timedelta(hours=int(self.item[:2]))

    @property
    def end(self) -> datetime:
        """Time at which an outage ended, UTC."""
        return self.begin + timedelta(hours=self.hours)

    def line(self) -> str:
        """The event's point as line protocol."""
        fields: dict[str, FieldValue] = {"text": self.text}
        if self.kind is Kind.OUTAGE:
            fields |= {"hours": self.hours, "expected": self.expected}
        return line(EVENT.name, tag_set(self.tags), fields, day_ns(self.day))


def event_of(row: Mapping[str, str | int | None]) -> Event:
    """The event of a stored point's columns. Raises KeyError, ValueError if it is none."""
    return Event(
        day_of(int(row["time"] or 0)),
        Kind(str(row["kind"])),
        str(row["subject"]),
        str(row["item"]),
        str(row["text"]),
        hours=int(row.get("hours") or 0),
        expected=int(row.get("expected") or 0),
    )


def first_version(day: date, dimension: str, version: str) -> Event:
    """The first day of a version in the published tables of nodes."""
    text = _plain(f"First in the numbers: {SOFTWARE[dimension]} {version}")
    return Event(day, Kind.VERSION, dimension, version, text)


def first_package(day: date, package: str, version: str) -> Event:
    """The first day of a package's version in the published table of packages."""
    text = _plain(f"First in the numbers: package {package} {version}")
    return Event(day, Kind.PACKAGE, package, version, text)


def outage(begin: datetime, hours: int, expected: int) -> Event:
    """An outage of the intake that began at a full hour (UTC) and lasted for whole hours."""
    end = begin + timedelta(hours=hours)
    form = "%H:%M" if (end - timedelta(hours=1)).date() == begin.date() else "%Y-%m-%d %H:%M"
    # An outage of one day ends at 24:00, not on the next day.
    until = "24:00" if form == "%H:%M" and end.date() != begin.date() else end.strftime(form)
    text = (
        f"No report received from {begin.strftime(form)} to {until} UTC,"
        f" where about {expected} were expected"
    )
    return Event(
        begin.date(),
        Kind.OUTAGE,
        INTAKE,
        f"{begin:%H:%M}",
        text,
        hours=hours,
        expected=expected,
    )


def _plain(text: str) -> str:
    """A text without the brackets of HTML, which dashboards would take for markup."""
    return text.replace("<", "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}").replace(
        ">", "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}"
    )
