"""Live series: their identity, and the type of functions that add a point of one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

Add = Callable[[str, Mapping[str, str], Mapping[str, int | float | str]], None]
"""Adds a point: measurement, tags without `asterisk`, fields."""


class Series(NamedTuple):
    """A gauge: measurement, and its tags without `asterisk` as pairs, sorted by name."""

    measurement: str
    tags: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, measurement: str, **tags: str) -> Series:
        """Build a series from tags in any order."""
        return cls(measurement, tuple(sorted(tags.items())))
