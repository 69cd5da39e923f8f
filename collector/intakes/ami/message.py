"""A parsed message of Asterisk's manager interface (AMI). Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_DIGITS: Final = 15
"""Most digits of a whole number; longer ones count as invalid."""


@dataclass(frozen=True, slots=True)
class Message:
    """An event, an item of a list, or a response.

    `event` is the event's name; "" for a response. `headers` maps names of wanted headers, as
    Asterisk spells them, to values without surrounding blanks. The first of a repeated header
    counts: a dialplan's UserEvent can add headers only after Asterisk's own.
    """

    event: str
    headers: Mapping[str, str]

    def get(self, name: str) -> str:
        """The text of a header; "" if it is absent."""
        return self.headers.get(name, "")

    def whole(self, name: str) -> int | None:
        """The non-negative whole number in a header; None for any other text."""
        text = self.get(name)
        return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None

    def finite(self, name: str) -> float | None:
        """The finite number in a header; None for any other text."""
        text = self.get(name)
        # float() accepts digits of all scripts, and underscores.
        if not text.isascii() or "_" in text:
            return None
        try:
            value = float(text)
        except ValueError:
            return None
        return value if math.isfinite(value) else None
