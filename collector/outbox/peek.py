"""Reads an outbox without any change: no file is made, migrated or set aside."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from collector.outbox.errors import translated_errors
from collector.outbox.queues import DELIVERED, FROM, Queue
from collector.sqlite.lock import log_of
from collector.sqlite.migration import tables


class Peeked(NamedTuple):
    """Figures of an outbox. Times are in ns since 1970, 0 for none.

    `waiting` counts undelivered reports by queue, `refusals` dead letters by reason. `oldest_ns` is
    the receive time of the oldest undelivered report, `newest_ns` that of the newest of the last
    entries, delivered or not.
    """

    waiting: dict[Queue, int]
    refusals: dict[str, int]
    oldest_ns: int
    newest_ns: int

    @property
    def dead_letters(self) -> int:
        """The number of dead letters."""
        return sum(self.refusals.values())

    @property
    def reports(self) -> int:
        """The number of undelivered reports."""
        return sum(self.waiting.values())


def peek(path: Path) -> Peeked:
    """Return the figures of an outbox of any version.

    Raises OutboxUnavailable, OutboxDamaged.
    """
    with translated_errors(), _opened(path) as database:
        found = tables(database)
        if not found:
            # A collector makes the file at this moment.
            return Peeked(dict.fromkeys(Queue, 0), {}, 0, 0)
        waiting = {Queue.INFLUX: "entries WHERE id > (SELECT delivered_id FROM cursor)"}
        if "cursors" in found:
            waiting = {queue: f"{FROM[queue]} AND id > {DELIVERED[queue]}" for queue in Queue}
        counts, oldest = {}, []
        for queue, part in waiting.items():
            (counts[queue], first) = database.execute(
                f"SELECT count(*), coalesce(min(received_ns), 0) FROM {part}"  # noqa: S608
            ).fetchone()
            oldest += [first] if first else []
        refusals = database.execute("SELECT reason, count(*) FROM dead_letters GROUP BY reason")
        reasons = dict(refusals.fetchall())
        (newest,) = database.execute(
            "SELECT coalesce(max(received_ns), 0) FROM"
            " (SELECT received_ns FROM entries ORDER BY id DESC LIMIT 1000)"
        ).fetchone()
    return Peeked(counts, reasons, min(oldest, default=0), newest)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    log_file, index = log_of(path), Path(f"{path}-shm")
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with ExitStack() as stack:
        if not log_file.exists() or not log_file.stat().st_size:
            uri += "&immutable=1"
        elif not index.exists():
            # SQLite makes a missing index when it reads a log, so read a copy.
            copy = Path(stack.enter_context(tempfile.TemporaryDirectory())) / path.name
            shutil.copyfile(path, copy)
            shutil.copyfile(log_file, log_of(copy))
            uri = copy.as_uri()
        yield stack.enter_context(closing(sqlite3.connect(uri, uri=True, timeout=30)))
