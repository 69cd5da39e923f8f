"""Parsers of numbers in AMI's headers, whose text may be anything. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

_DIGITS: Final = 15
"""Most digits of a whole number; longer ones count as invalid."""


def whole(headers: Mapping[str, str], name: str) -> int | None:
    """The non-negative whole number in a header; None for any other text."""
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


def finite(headers: Mapping[str, str], name: str) -> float | None:
    """The finite number in a header; None for any other text."""
    text = headers.get(name, "")
    # float() accepts digits of all scripts, and underscores.
    if not text.isascii() or "_" in text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
