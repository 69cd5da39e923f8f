"""Numbers in the headers of AMI, which may hold anything. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

_DIGITS: Final = 15
"""Most digits of a whole number that is believed."""


def whole(headers: Mapping[str, str], name: str) -> int | None:
    """The whole number, not negative, in a header; None for anything else."""
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


def finite(headers: Mapping[str, str], name: str) -> float | None:
    """The finite number in a header; None for anything else."""
    text = headers.get(name, "")
    # float() takes digits of all scripts, and underscores.
    if not text.isascii() or "_" in text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
