"""Bounds of what the system clock is believed. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

EARLIEST: Final = datetime(2025, 6, 1, tzinfo=UTC)
"""A clock before this time is wrong, because this code is younger."""
EARLIEST_NS: Final = int(EARLIEST.timestamp()) * 10**9
TOLERANCE_NS: Final = 5 * 10**9
"""A clock set by less moves no report: network time makes such corrections."""


def is_wrong(now_ns: int) -> bool:
    """Return whether a time (UTC, ns since 1970) is too early to be right."""
    return now_ns < EARLIEST_NS
