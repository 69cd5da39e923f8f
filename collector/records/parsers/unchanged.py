"""Parser of all classifications without another parser: it finds nothing in payloads."""

from __future__ import annotations

from collector.records.parsers import FixedParser, Parsed


class Unchanged(FixedParser):
    """Finds nothing in payloads."""

    prefixes = ("",)

    def parse(self, _text: str) -> Parsed | None:
        """Nothing."""
        return None
