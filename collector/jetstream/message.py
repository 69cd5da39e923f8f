"""Form of an outbox entry in a message: a line of its columns with a checksum, then its lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from collector.outbox.queues import Queue, queue_of
from collector.outbox.rows import Entry, Pending, checksum
from collector.privacy import ServerPseudonym

_VERSION: Final = b"1"
_NOBODY: Final = b"-"
_HEAD: Final = re.compile(rb"1 (\d+) (-|[0-9a-f]+) (\d+) ([\w-]+) ([\w-]+) (\d+)")
HEAD_MOST: Final = 640
"""Most bytes of a message that are not its entry's lines: the head, the seal, NATS's headers."""


class NotAnEntry(ValueError):
    """A message does not hold an entry in a form that this version knows."""


def encode(entry: Entry | Pending) -> bytes:
    """Return the body of an entry's message. Raises NotAnEntry if a column is no word."""
    received_ns, server, points, lines, target, sender = entry[-6:]
    sum_ = checksum(received_ns, server or "", points, lines, target, sender)
    columns = f"{received_ns} {server or '-'} {points} {sender} {target} {sum_}"
    head = b"%b %b" % (_VERSION, columns.encode())
    if not _HEAD.fullmatch(head):
        raise NotAnEntry("its columns cannot be sent")
    return b"%b\n%b" % (head, lines)


def decode(body: bytes) -> Entry:
    """Return the entry of a message's body. Raises NotAnEntry, also for a damaged one."""
    head, _, lines = body.partition(b"\n")
    found = _HEAD.fullmatch(head)
    if found is None:
        version = head.partition(b" ")[0]
        if version.isdigit() and version != _VERSION:
            raise NotAnEntry(f"form {version.decode()} of a newer version")
        raise NotAnEntry("not in the form of an entry")
    received, server, points, sender, target, sum_ = found.groups()
    entry = Entry(
        int(received),
        None if server == _NOBODY else ServerPseudonym(server.decode()),
        int(points),
        lines,
        target.decode(),
        sender.decode(),
    )
    owner = entry.server or ""
    if int(sum_) != checksum(entry.received_ns, owner, entry.points, lines, *entry[4:]):
        raise NotAnEntry("not as it was sent: its checksum differs")
    return entry


def parts(entry: Pending, most_bytes: int) -> Iterator[Pending]:
    """Split an entry of InfluxDB at its line ends into entries of at most `most_bytes` of lines.

    A longer line, and a record, is an entry of its own, whatever its size.
    """
    if len(entry.lines) <= most_bytes or queue_of(entry.target) is Queue.RECORDS:
        yield entry
        return
    part: list[bytes] = []
    size = 0
    for line in entry.lines.split(b"\n"):
        if part and size + len(line) > most_bytes:
            yield entry._replace(points=len(part), lines=b"\n".join(part))
            part, size = [], 0
        part.append(line)
        size += len(line) + 1
    yield entry._replace(points=len(part), lines=b"\n".join(part))
