"""Records of the outbox's rows, and their checksum, which detects damage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple
from zlib import crc32

from collector.outbox.queues import Queue
from collector.privacy import ServerPseudonym
from collector.schema import RAW

ASL: Final = "asl"
"""Sender of all entries written before entries named their sender."""


# Tuples, because one is made for every report and a frozen dataclass costs several times as much.
class Entry(NamedTuple):
    """One report to be stored: pseudonymous, its lines final and joined by newlines.

    `received_ns` is in ns since 1970, `points` the number of lines. `server` is the owner's
    pseudonym, None for a report without owner; `target` the database that it goes to, or `records`;
    `sender` the name of the intake that received it. A line ends with its timestamp in ns.
    """

    received_ns: int
    server: ServerPseudonym | None
    points: int
    lines: bytes
    target: str = RAW
    sender: str = ASL


class Pending(NamedTuple):
    """A stored entry, with its number."""

    id: int
    received_ns: int
    server: ServerPseudonym | None
    points: int
    lines: bytes
    target: str = RAW
    sender: str = ASL


class DeadLetter(NamedTuple):
    """A line that its target refused for good, and the target's reason. Times: ns since 1970."""

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
    """Rows of one server in an outbox: undelivered entries, delivered entries, dead letters."""

    waiting: tuple[Pending, ...]
    delivered: tuple[Pending, ...]
    dead: tuple[DeadLetter, ...]


class Waiting(NamedTuple):
    """Undelivered entries of a queue: their number, and the oldest one's time in ns, if any."""

    reports: int
    oldest_ns: int | None


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics of an outbox: undelivered entries, count of dead letters, and bytes in use."""

    waiting: Mapping[Queue, Waiting]
    dead_letters: int
    bytes: int

    @property
    def reports(self) -> int:
        """Number of undelivered entries of all queues."""
        return sum(queue.reports for queue in self.waiting.values())


def checksum(
    received_ns: int, server: str, points: int, lines: bytes, target: str = RAW, sender: str = ASL
) -> int:
    """Return an entry's CRC-32. SQLite has no checksums and would not notice a flipped bit."""
    # Entries of version 2 have neither target nor sender, and their checksums must stay valid.
    if sender == ASL and target == RAW:
        return crc32(lines, crc32(b"%d %s %d" % (received_ns, server.encode(), points)))
    whole = f"{received_ns} {server} {points} {target} {sender}"
    return crc32(lines, crc32(whole.encode()))


def is_whole(entry: Pending, sum_: int | None) -> bool:
    """Return whether an entry matches its checksum; entries of version 1 have none and pass."""
    try:
        _, received_ns, server, points, lines, target, sender = entry
        found = checksum(received_ns, server or "", points, lines, target, sender)
    except (TypeError, ValueError, AttributeError):
        # SQLite stores any type in any column: a flipped bit may have changed the type.
        return False
    return sum_ is None or sum_ == found
