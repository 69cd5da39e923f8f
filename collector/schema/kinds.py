"""Kinds of the schema: measurements with their tags and fields, and the layout of a report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FieldType(StrEnum):
    """The type of a field, as line protocol writes it."""

    FLOAT = "float"
    INTEGER = "integer"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag. `budget` is the largest number of distinct values within raw retention."""

    name: str
    meaning: str
    budget: int | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """A field. `unit` is the thing counted, or a unit of time."""

    name: str
    type: FieldType
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measurement. `time` is the meaning of its points' timestamps."""

    database: str
    name: str
    time: str
    tags: tuple[Tag, ...]
    fields: tuple[Field, ...]


OWNER = "server"
"""The field that holds the pseudonym of a report's owner, in every measurement that has owners."""


@dataclass(frozen=True, slots=True)
class ReportLayout:
    """The layout of one report's points in the raw database, ordered by time.

    One point of `head` is followed by points of `part`, one step of the stamper apart; the head's
    field `count` holds their number. Each point has the field `OWNER`. `days` is the measurement of
    the daily numbers made from these reports, None if there are none: a day that is final there
    stays as published when an owner's reports are erased.
    """

    head: Measurement
    part: Measurement | None = None
    count: str = ""
    days: Measurement | None = None

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """The measurements of the report's points."""
        return (self.head,) if self.part is None else (self.head, self.part)


def counted(name: str, unit: str, meaning: str) -> Field:
    """A field that holds a whole number; `unit` is the thing counted."""
    return Field(name, FieldType.INTEGER, unit, meaning)


def text(name: str, meaning: str) -> Field:
    """A field that holds text."""
    return Field(name, FieldType.STRING, "", meaning)
