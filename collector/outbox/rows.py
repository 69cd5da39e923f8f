"""The outbox's rows as the rest of the collector sees them, and the checksum that tells damage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple
from zlib import crc32

from collector.privacy import ServerPseudonym
from collector.schema import RAW

ASL: Final = "asl"
"""The sender of every entry that an earlier version wrote."""


# Tuples, as they are made for every report: a frozen dataclass costs several times as much.
class Entry(NamedTuple):
    """One report as it is stored: pseudonymous, its lines final and joined by newlines.

    `server` is its owner's, None where it is nobody's; `target` the database that it goes to;
    `sender` the name of the intake that took it.
    """

    received_ns: int
    server: ServerPseudonym | None
    points: int
    lines: bytes
    target: str = RAW
    sender: str = ASL


class Pending(NamedTuple):
    """An entry on its way to its target."""

    id: int
    received_ns: int
    server: ServerPseudonym | None
    points: int
    lines: bytes
    target: str = RAW
    sender: str = ASL


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A line that its target refused for good, and the target's words. Times are ns since 1970."""

    id: int
    received_ns: int
    server: ServerPseudonym | None
    line: bytes
    reason: str
    set_aside_ns: int
    target: str = RAW
    sender: str = ASL


@dataclass(frozen=True, slots=True)
class Held:
    """Rows of one server in an outbox: entries to deliver, entries delivered, dead letters."""

    waiting: tuple[Pending, ...]
    delivered: tuple[Pending, ...]
    dead: tuple[DeadLetter, ...]


@dataclass(frozen=True, slots=True)
class Stats:
    """Size of an outbox: undelivered reports, the oldest one's time, dead letters, bytes."""

    reports: int
    oldest_ns: int | None
    dead_letters: int
    bytes: int


def checksum(
    received_ns: int, server: str, points: int, lines: bytes, target: str = RAW, sender: str = ASL
) -> int:
    """CRC-32 of an entry: SQLite has none of its own, and a flipped bit in a row is no error."""
    # Entries of version 2 had neither target nor sender, and their sums stay right.
    if sender == ASL and target == RAW:
        return crc32(lines, crc32(b"%d %s %d" % (received_ns, server.encode(), points)))
    whole = f"{received_ns} {server} {points} {target} {sender}"
    return crc32(lines, crc32(whole.encode()))


def is_whole(entry: Pending, sum_: int | None) -> bool:
    """Whether an entry is as it was written; of those of version 1 (no sum), whether it may be."""
    try:
        _, received_ns, server, points, lines, target, sender = entry
        found = checksum(received_ns, server or "", points, lines, target, sender)
    except (TypeError, ValueError, AttributeError):
        # SQLite keeps any type in any column: a flipped bit may have changed it.
        return False
    return sum_ is None or sum_ == found
