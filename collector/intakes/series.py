"""The identity of a live series: its measurement and tags. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Series(NamedTuple):
    """A gauge: measurement, and its tags without `asterisk` as pairs, sorted by name."""

    measurement: str
    tags: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, measurement: str, **tags: str) -> Series:
        """Build a series from tags in any order."""
        return cls(measurement, tuple(sorted(tags.items())))
