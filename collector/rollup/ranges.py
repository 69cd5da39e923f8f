"""Ranges of pseudonyms and slices of time, by which a day is computed in limited memory. Pure.

A node or server is in one range only, so that counts of distinct ones add up over the ranges of a
day. Pseudonyms are 64 bits of a keyed hash: ranges of one width hold about as many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from collector.influx.contents import Span
from collector.lazy import pl

_PSEUDONYMS: Final = 2**64
_ROW_BYTES: Final = 192
"""Memory that a raw row takes while its range is computed, grouping and copies included: about 110
measured (bench/large.py), and room for networks whose labels vary more."""
_UNIT_BYTES: Final = 144
"""Memory that a node or server of the last 31 days takes while its range's windows are counted:
about 120 measured."""
_SLICE_ROW_BYTES: Final = 6400
"""Memory for a raw row while its slice is read: its CSV, columns and copies, twice because both
measurements are read at once, and what the allocator keeps of the slices before."""
_FIXED_BYTES: Final = 96 << 20
"""Memory taken whatever the number of rows: pieces of CSV, their parsing, and what the allocator
keeps of the ranges before."""
_LEAST_ROWS: Final = 10_000
"""Rows that are held at once whatever the limit: fewer would save nothing."""


@dataclass(frozen=True, slots=True)
class Range:
    """One of `of` ranges of pseudonyms of the same width; `number` counts from 0."""

    number: int
    of: int

    @property
    def bounds(self) -> tuple[int, int]:
        """The first and the last pseudonym."""
        width = _width(self.of)
        return self.number * width, min((self.number + 1) * width, _PSEUDONYMS) - 1

    def overlapping(self, of: int) -> list[Range]:
        """The ranges, out of `of` in all, that share a pseudonym with this one."""
        first, last = self.bounds
        width = _width(of)
        return [Range(number, of) for number in range(first // width, last // width + 1)]

    def contains(self, column: str) -> pl.Expr:
        """Whether the pseudonym in a column is in the range."""
        first, last = self.bounds
        return pl.col(column).is_between(pl.lit(first, pl.UInt64), pl.lit(last, pl.UInt64))


WHOLE: Final = Range(0, 1)
"""The range of all pseudonyms."""


def ranges_of(of: int) -> Iterator[Range]:
    """All of `of` ranges, which together have every pseudonym once."""
    return (Range(number, of) for number in range(of))


def split(rows: pl.DataFrame, column: str, of: int) -> dict[int, pl.DataFrame]:
    """The rows of each of `of` ranges that has any, by its number, in their order.

    Rows without a pseudonym are in the first range.
    """
    if of == 1:
        return {0: rows}
    number = pl.col(column).fill_null(0) // pl.lit(_width(of), pl.UInt64)
    parts = rows.with_columns(number.alias("range")).partition_by(
        "range", maintain_order=True, include_key=False, as_dict=True
    )
    return {int(key): part for (key,), part in parts.items()}


def _width(of: int) -> int:
    return -(-_PSEUDONYMS // of)


@dataclass(frozen=True, slots=True)
class Plan:
    """The number of ranges that a day is computed by, and the most rows of a slice of time."""

    ranges: int = 1
    slice_rows: int = 1_000_000


def plan(memory: int, rows: int, units: int) -> Plan:
    """Plan a day of so many raw rows for a limit in bytes.

    `units` is the number of nodes and servers of the 31 days that end with the day, or more.
    """
    memory = max(1, memory - _FIXED_BYTES)
    ranges = -(-(rows * _ROW_BYTES + units * _UNIT_BYTES) // memory)
    most = -(-(rows + units) // _LEAST_ROWS)
    return Plan(max(1, min(ranges, most)), max(_LEAST_ROWS, memory // _SLICE_ROW_BYTES))


def slices(counts: Mapping[int, int], span: Span, most: int) -> list[tuple[Span, int]]:
    """Divide a span into slices of at most `most` rows, each with its number of rows.

    `counts` are numbers of rows by the start of each interval that has any (ns since 1970); an
    interval is never divided.
    """
    found: list[tuple[Span, int]] = []
    begun, rows = span.start, 0
    for start in sorted(counts):
        if rows and rows + counts[start] > most:
            found.append((Span(begun, start), rows))
            begun, rows = start, 0
        rows += counts[start]
    return [*found, (Span(begun, span.end), rows)]
