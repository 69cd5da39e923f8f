"""What the outbox's rows are to the rest of the collector, and the checksum that tells damage."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import NamedTuple

from collector.admission import TagValue
from collector.privacy import ServerPseudonym


# Tuples, as they are made for every report: a frozen dataclass costs several times as much.
class Entry(NamedTuple):
    """One report as it is stored: pseudonymous, its lines final and joined by newlines."""

    received_ns: int
    server: ServerPseudonym
    points: int
    lines: bytes
    tag_values: tuple[TagValue, ...] = ()


class Pending(NamedTuple):
    """An entry on its way to InfluxDB."""

    id: int
    received_ns: int
    server: ServerPseudonym
    points: int
    lines: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A line that InfluxDB refused for good, and its words. Times are ns since 1970."""

    id: int
    received_ns: int
    server: ServerPseudonym
    line: bytes
    reason: str
    set_aside_ns: int


@dataclass(frozen=True, slots=True)
class Held:
    """What an outbox holds of one server: entries to deliver, entries delivered, dead letters."""

    waiting: tuple[Pending, ...]
    delivered: tuple[Pending, ...]
    dead: tuple[DeadLetter, ...]


@dataclass(frozen=True, slots=True)
class Stats:
    """What an outbox holds: undelivered reports, the oldest one's time, dead letters, bytes."""

    reports: int
    oldest_ns: int | None
    dead_letters: int
    bytes: int


def checksum(received_ns: int, server: str, points: int, lines: bytes) -> int:
    """CRC-32 of an entry: SQLite has none of its own, and a flipped bit in a row is no error."""
    return zlib.crc32(lines, zlib.crc32(b"%d %s %d" % (received_ns, server.encode(), points)))


def is_whole(entry: Entry | Pending, sum_: int | None) -> bool:
    """Whether an entry is as it was written; of those of version 1 (no sum), whether it may be."""
    try:
        found = checksum(entry.received_ns, entry.server, entry.points, entry.lines)
    except (TypeError, ValueError, AttributeError):
        # SQLite keeps any type in any column: a flipped bit may have changed it.
        return False
    return sum_ is None or sum_ == found
