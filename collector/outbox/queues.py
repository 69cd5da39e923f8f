"""The queues of an outbox, each with one target and a cursor.

A target that is unavailable holds up its own queue only.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from collector.schema import RECORDS


class Queue(StrEnum):
    """A queue, by the name of the store that it is delivered to."""

    INFLUX = "influx"
    RECORDS = "records"


def queue_of(target: str) -> Queue:
    """Return the queue of entries with this target: all but `records` are databases of InfluxDB."""
    return Queue.RECORDS if target == RECORDS else Queue.INFLUX


FROM: Final = {
    Queue.INFLUX: f"entries WHERE target != '{RECORDS}'",
    # Without the index, each read would pass over all entries that InfluxDB does not have yet.
    Queue.RECORDS: f"entries INDEXED BY entries_of_records WHERE target = '{RECORDS}'",
}
"""SQL after `FROM` that selects a queue's entries."""
INDEX: Final = f"CREATE INDEX entries_of_records ON entries (id) WHERE target = '{RECORDS}'"
DELIVERED: Final = {
    queue: f"(SELECT delivered_id FROM cursors WHERE queue = '{queue}')"  # noqa: S608 - constants
    for queue in Queue
}
"""SQL of the number of a queue's last delivered entry."""
