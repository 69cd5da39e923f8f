"""Payload parsers: extract findings from a record's payload, by its classification.

A parser is found by its entry point in the group `collector.payload_parsers`: a callable that takes
the settings and returns a `PayloadParser`. `registry` chooses one for each record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from collector.settings import Settings


@dataclass(frozen=True, slots=True)
class Parsed:
    """Finding of a payload: its kind, a label to count by, and details (JSON values) by name."""

    kind: str
    label: str
    detail: Mapping[str, Any] = field(default_factory=dict)


class FixedParser:
    """Base of the parsers that need no settings."""

    version = "1"

    def __init__(self, _settings: Settings) -> None:
        pass


class PayloadParser(Protocol):
    """Parser of the payloads of some classifications."""

    @property
    def prefixes(self) -> Sequence[str]:
        """Prefixes of classifications; the longest matching one of all parsers decides."""
        ...

    @property
    def version(self) -> str:
        """Text that changes when the same payload may give another finding."""
        ...

    def parse(self, text: str) -> Parsed | None:
        """The finding of a payload, or None. Exceptions are counted and the record is stored."""
        ...
