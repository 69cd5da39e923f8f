"""Reads an outbox without any change: no file is made, migrated or set aside."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from collector.outbox.errors import translated_errors
from collector.outbox.queues import DELIVERED, FROM, Queue
from collector.sqlite.migration import tables


def peek(path: Path) -> tuple[int, int, int]:
    """Return the counts of undelivered reports and dead letters of an outbox of any version.

    The third number is the newest receive time of the last entries in ns, 0 for none.
    Raises OutboxUnavailable, OutboxDamaged.
    """
    with translated_errors(), _opened(path) as database:
        if "cursors" in tables(database):
            waiting = [f"{FROM[queue]} AND id > {DELIVERED[queue]}" for queue in Queue]
        else:
            waiting = ["entries WHERE id > (SELECT delivered_id FROM cursor)"]
        reports = sum(
            count
            for part in waiting
            for (count,) in database.execute(f"SELECT count(*) FROM {part}")  # noqa: S608
        )
        (dead,) = database.execute("SELECT count(*) FROM dead_letters").fetchone()
        (newest,) = database.execute(
            "SELECT coalesce(max(received_ns), 0) FROM"
            " (SELECT received_ns FROM entries ORDER BY id DESC LIMIT 1000)"
        ).fetchone()
    return int(reports), int(dead), int(newest)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    log_file, index = Path(f"{path}-wal"), Path(f"{path}-shm")
    if not log_file.exists() or not log_file.stat().st_size:
        with closing(_connected(f"{path.absolute().as_uri()}?mode=ro&immutable=1")) as database:
            yield database
    elif index.exists():
        with closing(_connected(f"{path.absolute().as_uri()}?mode=ro")) as database:
            yield database
    else:
        # SQLite makes a missing index when it reads a log, so read a copy.
        with tempfile.TemporaryDirectory() as directory:
            copy = Path(directory) / path.name
            shutil.copyfile(path, copy)
            shutil.copyfile(log_file, f"{copy}-wal")
            with closing(_connected(copy.as_uri())) as database:
                yield database


def _connected(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=30)
