"""Reads the entries of a queue in batches, in the order in which they were appended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from itertools import accumulate
from typing import Any, Final

import pydantic_core

from collector.outbox.connection import Connected
from collector.outbox.errors import OutboxDamaged, OutboxUnavailable, translated_errors
from collector.outbox.queues import DELIVERED, FROM, Queue, queue_of
from collector.outbox.rows import Pending, is_whole

PENDING: Final = "id, received_ns, nullif(server, ''), points, lines, target, sender"
"""Columns of a `Pending`."""
_WAITING: Final = {
    queue: f"{FROM[queue]} AND id > max(:after, {DELIVERED[queue]})" for queue in Queue
}
_AT_ONCE: Final = f"""
WITH waiting AS (
    SELECT id, sum(points) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS lines
    FROM {_WAITING[Queue.INFLUX]} ORDER BY id LIMIT :most
), last AS (
    SELECT coalesce(max(id) FILTER (WHERE lines <= :most), min(id)) AS id FROM waiting
), kind AS (
    SELECT target, sender FROM {_WAITING[Queue.INFLUX]} ORDER BY id LIMIT 1
)
SELECT
    json_group_array(
        json_array(id, received_ns, nullif(server, ''), points, checksum, length(lines))
    ),
    group_concat(CAST(lines AS TEXT), ''),
    (SELECT target FROM kind), (SELECT sender FROM kind),
    sum(target != (SELECT target FROM kind) OR sender != (SELECT sender FROM kind))
FROM (
    SELECT * FROM {_WAITING[Queue.INFLUX]} AND id <= (SELECT id FROM last) ORDER BY id
)
"""  # noqa: S608 - constants
_ONE_BY_ONE: Final = f"SELECT {PENDING}, checksum FROM entries WHERE id"  # noqa: S608 - constants
_IN_TURN: Final = {
    queue: f"SELECT {PENDING}, checksum FROM {_WAITING[queue]} ORDER BY id LIMIT :most"  # noqa: S608
    for queue in Queue
}
_MOST_BYTES: Final = 8 << 20
"""Most bytes of lines in a batch that is read row by row, except that one entry always fits."""
_MOST_READABLE: Final = 20_000


class Batches(Connected):
    """The part of an outbox's file that reads undelivered entries."""

    def read(self, *, max_lines: int, after: int = 0, queue: Queue = Queue.INFLUX) -> list[Pending]:
        """Return the oldest undelivered entries of a queue after number `after`, in order.

        Together they have at most `max_lines` lines, except that one entry always fits.
        Raises OutboxDamaged if an entry does not match its checksum.
        """
        rows = self._rows_at_once(max_lines, after) if queue is Queue.INFLUX else None
        if rows is None:
            rows = self._rows_in_turn(queue, max_lines, after)
        batch: list[Pending] = []
        lines = 0
        for row in rows:
            # Takes half the time of calling the constructor.
            entry = Pending._make(row[:-1])
            if not is_whole(entry, row[-1]):
                raise OutboxDamaged(f"entry {entry.id} of the outbox is not as it was written")
            lines += entry.points
            if batch and lines > max_lines:
                break
            batch.append(entry)
        return batch

    def _rows_at_once(self, max_lines: int, after: int) -> Iterable[tuple[Any, ...]] | None:
        """Read a batch in a single row, which costs one wait for the GIL instead of one per row.

        Returns None if an entry has unexpected types, or if targets or senders differ.
        """
        try:
            with translated_errors():
                told, text, *rest = self._database.execute(
                    _AT_ONCE, {"most": max_lines, "after": after}
                ).fetchone()
            if told == "[]":
                return []
            target, sender, others = rest
            if others:
                return None
            facts, joined = pydantic_core.from_json(told), text.encode()
            ends = accumulate(length for *_, length in facts)
            return sorted(
                (id_, at, server, points, joined[end - length : end], target, sender, sum_)
                for (id_, at, server, points, sum_, length), end in zip(facts, ends, strict=True)
            )
        except (OutboxDamaged, ValueError, TypeError, AttributeError):
            return None

    def _rows_in_turn(self, queue: Queue, max_lines: int, after: int) -> list[tuple[Any, ...]]:
        """Read rows one by one, until there are `max_lines` of them or they are large."""
        rows: list[tuple[Any, ...]] = []
        size = 0
        with translated_errors():
            for row in self._database.execute(_IN_TURN[queue], {"most": max_lines, "after": after}):
                # A damaged row may have another type; it is found when its checksum is compared.
                size += len(row[4]) if isinstance(row[4], bytes) else 0
                if rows and size > _MOST_BYTES:
                    break
                rows.append(row)
        return rows

    def readable_waiting(self) -> list[Pending]:
        """Return the undelivered entries of a damaged file that this connection can still read.

        Reads one by one: the connection's page cache (2 MB) has recent entries even if the file
        has lost them. At most the newest 20 000; none if even the numbers cannot be read.
        """
        found: list[Pending] = []
        with contextlib.suppress(OutboxUnavailable):
            with translated_errors():
                delivered = dict(self._database.execute("SELECT queue, delivered_id FROM cursors"))
                (last,) = self._database.execute("SELECT max(id) FROM entries").fetchone()
            least = max(min(delivered.values()), (last or 0) - _MOST_READABLE)
            for id_ in range(last or 0, least, -1):
                # An entry on a damaged page is left to `collector outbox recover`.
                with contextlib.suppress(OutboxUnavailable), translated_errors():
                    for *row, sum_ in self._database.execute(f"{_ONE_BY_ONE} = ?", (id_,)):
                        entry = Pending(*row)
                        if is_whole(entry, sum_) and id_ > delivered[queue_of(entry.target)]:
                            found.append(entry)
        found.reverse()
        return found
