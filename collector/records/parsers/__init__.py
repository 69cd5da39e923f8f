"""Payload parsers: what a record's payload says, by its classification.

A parser is found by its entry point in the group `collector.payload_parsers`: a callable that takes
the settings and returns a `PayloadParser`. `registry` chooses one for each record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a payload says: its kind, a label to count by, and details (JSON values) by name."""

    kind: str
    label: str
    detail: Mapping[str, Any] = field(default_factory=dict)


class PayloadParser(Protocol):
    """Reads the payloads of some classifications."""

    @property
    def prefixes(self) -> Sequence[str]:
        """Beginnings of the classifications; of all parsers the longest that fits decides."""
        ...

    @property
    def version(self) -> str:
        """Text that changes when the same payload may give something else."""
        ...

    def parse(self, text: str) -> Parsed | None:
        """What a payload says, None for nothing. Exceptions are counted; the record stays."""
        ...
