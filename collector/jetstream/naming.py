"""Names in JetStream: stream, subjects, durable consumers and message ids.

A subject is STREAM.QUEUE.TARGET.RANGE, such as `usage.influx.usage_raw.3f`. RANGE is the first two
hex digits of the owner's pseudonym, or `none`, so that an erasure can purge a 256th of the stream.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from collector.outbox.queues import Queue, queue_of
from collector.outbox.rows import Entry, Pending
from collector.privacy import ServerPseudonym

_NOBODY: Final = "none"
_RANGE_DIGITS: Final = 2
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+")
_INSTANCES: Final = 1000
"""A timestamp's last three digits are the number of the instance that gave it."""


def range_of(server: ServerPseudonym | None) -> str:
    """Return the range of a pseudonym: its first two hex digits, or `none` without one."""
    return server[:_RANGE_DIGITS] if server else _NOBODY


def subject(stream: str, target: str, server: ServerPseudonym | None) -> str:
    """Return the subject of an entry. Raises ValueError if a part is no word of a subject."""
    words = (stream, queue_of(target), target, range_of(server))
    for word in words:
        if not _TOKEN.fullmatch(word):
            raise ValueError(f"{word!r} cannot be part of a subject")
    return ".".join(words)


def all_subjects(stream: str) -> str:
    """Return the wildcard subject of all messages of a stream."""
    return f"{stream}.>"


def queue_subjects(stream: str, queue: Queue) -> str:
    """Return the wildcard subject of a queue's messages."""
    return f"{stream}.{queue}.>"


def range_subjects(stream: str, server: ServerPseudonym) -> str:
    """Return the wildcard subject of all messages in a pseudonym's range, of every target."""
    return f"{stream}.*.*.{range_of(server)}"


def consumer(queue: Queue) -> str:
    """Return the name of the durable consumer that all writers share for a queue."""
    return f"write-{queue}"


def message_id(entry: Entry | Pending) -> str:
    """Return the id by which JetStream recognises a message sent twice (`Nats-Msg-Id`).

    It has the sender, the instance, the entry's last timestamp, and a digest of target and lines:
    entries of one moment, such as two Asterisks' live values, share a timestamp.
    """
    last = entry.lines.rpartition(b" ")[2]
    stamp = int(last) if last.isdigit() else 0
    digest = blake2b(b"%b %b" % (entry.target.encode(), entry.lines), digest_size=8).hexdigest()
    return f"{entry.sender}-{stamp % _INSTANCES}-{stamp}-{digest}"
