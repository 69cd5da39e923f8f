"""A batch of reports in quarantine: its state, its stored form, and what it contains. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Final, Self

from collector.influx.contents import Span
from collector.lines import FieldValue
from collector.quarantine.pattern import Pattern
from collector.rollup.cache import RawCount

NS: Final = 10**9


class QuarantineError(ValueError):
    """The request is invalid and nothing was changed; the text gives the reason."""


class State(StrEnum):
    """State of a batch."""

    PLANNED = "planned"
    IN_FORCE = "in-force"
    RELEASING = "releasing"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of reports.

    `number` is its time of creation (s since 1970), `words` describes the pattern without
    pseudonyms. `pattern` is None once the batch is done and it held pseudonyms only.
    """

    number: int
    state: State
    span: Span
    pattern: Pattern | None
    words: str
    note: str
    reports: int = 0
    node_reports: int = 0

    @property
    def unfinished(self) -> bool:
        """Whether the batch was interrupted."""
        return self.state in (State.PLANNED, State.RELEASING)

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Self:
        """Read a batch from its stored point: `time` (ns) and the fields of `fields`."""
        described = json.loads(row["pattern"])
        return cls(
            int(row["time"]) // NS,
            State(row["state"]),
            Span(int(row["first_ns"]), int(row["until_ns"])),
            Pattern.from_json(described["pattern"]) if "pattern" in described else None,
            described["words"],
            row["note"],
            int(row["reports"]),
            int(row["node_reports"]),
        )

    def fields(self) -> dict[str, FieldValue]:
        """The fields of its stored point."""
        described: dict[str, Any] = {"words": self.words}
        if self.pattern is not None:
            described["pattern"] = asdict(self.pattern)
        return {
            "state": self.state.value,
            "first_ns": self.span.start,
            "until_ns": self.span.end,
            "pattern": json.dumps(described),
            "note": self.note,
            "reports": self.reports,
            "node_reports": self.node_reports,
        }


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a batch: the raw counts `before`, and the counts that the batch takes or returns."""

    day: date
    before: RawCount
    reports: int
    servers: int
    node_reports: int
    nodes: int
    final: bool


@dataclass(frozen=True, slots=True)
class Preview:
    """Contents of a batch: its days, and its servers (pseudonym, reports, nodes)."""

    days: Sequence[Day]
    servers: Sequence[tuple[str, int, int]]

    def under(self, k: int) -> list[date]:
        """Final days whose old and new numbers differ by fewer than k nodes or servers."""
        return [one.day for one in self.days if one.final and min(one.servers, one.nodes) < k]


def span_between(start: datetime, end: datetime) -> Span:
    """The span from `start` to `end`, which is excluded. Raises QuarantineError if it is empty."""
    if end <= start:
        raise QuarantineError("the span ends before it begins")
    return Span(*(int(at.astimezone(UTC).timestamp()) * NS for at in (start, end)))
