"""Records of an erasure: its plan, the counts of outbox rows, and its receipt. Pure."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from pydantic import TypeAdapter

from collector.orders import Elsewhere
from collector.outbox import Held
from collector.owners.holdings import Place
from collector.schema import DAILY_USAGE, RECORDS, Measurement


@dataclass(frozen=True, slots=True)
class Receipt:
    """Numbers of rows erased, and the days that they were of.

    `reports` and `node_reports` were in InfluxDB, `records` in the records store; `waiting` reports
    and `copies` of delivered ones in outboxes; `dead_letters` are lines. `days` (ISO) had raw
    reports; `final_days` are those of them whose published numbers stay unchanged. `elsewhere` is
    what was deleted from other processes and the stream, None without NATS.
    """

    reports: int = 0
    node_reports: int = 0
    waiting: int = 0
    copies: int = 0
    dead_letters: int = 0
    days: tuple[str, ...] = ()
    final_days: tuple[str, ...] = ()
    records: int = 0
    elsewhere: Elsewhere | None = None

    @classmethod
    def read(cls, text: str) -> Receipt:
        """Read a receipt from the JSON of `written`."""
        return TypeAdapter(cls).validate_json(text)

    def data(self) -> dict[str, Any]:
        """Return the receipt as an object for JSON, without `elsewhere` if that is None."""
        said = asdict(self)
        if self.elsewhere is None:
            del said["elsewhere"]
        return said

    def written(self) -> str:
        """Return the receipt as JSON."""
        return json.dumps(self.data())


ErasedByDay = dict[str, tuple[int, int]]
"""Totals of erased reports and node reports by day (ISO)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan of an erasure, recorded before it deletes anything.

    `reports` and `node_reports` count the rows to delete, of these `days` (ISO). `erased` gives,
    for each final day of `daily_usage`, its new totals of erased reports and node reports; `others`
    the same for days of other series, by measurement. They are totals to store, not increments, so
    that an erasure repeated after a crash counts nothing twice.
    """

    reports: int
    node_reports: int
    days: tuple[str, ...]
    erased: ErasedByDay
    others: dict[str, ErasedByDay] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Plan:
        """Read a plan from the JSON of `written`."""
        return TypeAdapter(cls).validate_json(text)

    def of(self, series: Measurement) -> ErasedByDay:
        """The totals of the final days of a series."""
        return self.erased if series is DAILY_USAGE else self.others.get(series.name, {})

    @property
    def final_days(self) -> tuple[str, ...]:
        """The final days of all series (ISO)."""
        others = (day for days in self.others.values() for day in days)
        return tuple(sorted({*self.erased, *others}))

    def written(self) -> str:
        """Return the plan as JSON."""
        return json.dumps(asdict(self))


@dataclass(slots=True, eq=False)
class OutboxCounts:
    """Counts of the outbox rows that an erasure deletes, by place.

    `upto` gives, for each outbox's directory name, the highest numbers of an entry and of a dead
    letter that are counted.
    """

    counts: Counter[str]
    upto: dict[str, tuple[int, int]]

    @classmethod
    def read(cls, text: str) -> Self:
        """Read the JSON of `written`; that of the earlier version has no `upto`."""
        said: dict[str, Any] = json.loads(text or "{}")
        upto = {name: (int(a), int(b)) for name, (a, b) in said.pop("upto", {}).items()}
        return cls(Counter(said), upto)

    def written(self) -> str:
        """Return the counts as JSON."""
        return json.dumps({**self.counts, "upto": self.upto})

    def add(self, name: str, held: Held) -> None:
        """Count those rows of an outbox that are not counted yet."""
        entry, letter = self.upto.get(name, (0, 0))
        # A record's entry has a point beside it, which is counted.
        for place, rows, last in (
            (Place.WAITING, held.waiting, entry),
            (Place.DELIVERED, held.delivered, entry),
            (Place.DEAD, held.dead, letter),
        ):
            self.counts[place] += sum(one.id > last and one.target != RECORDS for one in rows)
        self.upto[name] = (
            max([entry, *(one.id for one in (*held.waiting, *held.delivered))]),
            max([letter, *(one.id for one in held.dead)]),
        )


def most(*counts: tuple[int, int]) -> tuple[int, int]:
    """Return the highest first and the highest second number."""
    reports, nodes = zip(*counts, strict=True)
    return max(reports), max(nodes)


def up_to(held: Held, until_ns: int) -> Held:
    """Return the rows received up to a time."""
    return Held(
        tuple(entry for entry in held.waiting if entry.received_ns <= until_ns),
        tuple(entry for entry in held.delivered if entry.received_ns <= until_ns),
        tuple(letter for letter in held.dead if letter.received_ns <= until_ns),
    )
