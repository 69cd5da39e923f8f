"""Trial of a file of datagrams: the points that it would become, without storing them. Pure.

A file holds a datagram a line, either as it is (`calls:1|c`) or as in a capture: the seconds since
its start, a tab, and the bytes as Python writes them (`2.5<TAB>b'calls:1|c'`). Empty lines and
lines that begin with `#` are left out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from collector.intakes.live import NS_PER_S, grid
from collector.intakes.statsd.aggregate import Aggregator
from collector.lines import Point

_CAPTURED: Final = re.compile(rb"\s*(\d{1,9}(?:\.\d{1,9})?)\t(b['\"].*['\"])\s*")


class Arrived(NamedTuple):
    """A datagram and the time of its arrival, in ns since the start of the file."""

    at_ns: int
    datagram: bytes


class NotCaptured(ValueError):
    """A line looks like one of a capture but is invalid; the text names the line."""


def arrivals(lines: Iterable[bytes]) -> Iterator[Arrived]:
    """The datagrams of a file's lines. Raises NotCaptured."""
    last = 0
    for number, line in enumerate(lines, 1):
        text = line.rstrip(b"\r\n")
        if not text.strip() or text.startswith(b"#"):
            continue
        found = _CAPTURED.fullmatch(text)
        if found is None:
            yield Arrived(last, text)
            continue
        try:
            datagram = ast.literal_eval(found[2].decode("ascii"))
        except (ValueError, SyntaxError, MemoryError):
            datagram = None
        if not isinstance(datagram, bytes):
            raise NotCaptured(f"line {number}: what stands behind the tab is no bytes of Python")
        last = max(last, round(float(found[1]) * NS_PER_S))
        yield Arrived(last, datagram)


def flushes(
    aggregator: Aggregator, arrived: Iterable[Arrived], *, begun_ns: int, interval_s: int
) -> Iterator[list[Point]]:
    """The points of each flush, as if the file's first datagram had arrived at `begun_ns`."""
    interval = interval_s * NS_PER_S
    due = grid(begun_ns, interval_s) + interval
    for at_ns, datagram in arrived:
        now = begun_ns + at_ns
        while now >= due:
            yield aggregator.flush(due)
            due += interval
        aggregator.take(datagram, now)
    yield aggregator.flush(due)
