"""Parser of all classifications without another parser: it finds nothing in payloads."""

from __future__ import annotations

from collector.records.parsers import Parsed
from collector.settings import Settings


class Unchanged:
    """Finds nothing in payloads."""

    prefixes = ("",)
    version = "1"

    def __init__(self, _settings: Settings) -> None:
        pass

    def parse(self, _text: str) -> Parsed | None:
        """Nothing."""
        return None
