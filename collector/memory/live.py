"""The file of live values: a journal of StatsD's datagrams since the last flush, and its gauges.

It is separate from the memory's file because it is written every second, and readers of the memory
must neither be woken by that nor wait for it.

It has three tables, so that a process killed at any moment stores each flush once and loses at most
the datagrams since the last `save`:

- `states`: the state of each Asterisk after the last flush, such as its gauges, by key;
- `journal`: the datagrams since then, from which a new process computes the present state;
- `flushes`: the outbox entries of the last flush, until the outbox has them.

A damaged file is set aside and a new one begun; its values then count as unknown.
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from collector.memory.errors import MemoryDamaged
from collector.memory.store import Content, Table, operation
from collector.sqlite.migration import migrate, set_pragmas, tables

_VERSION: Final = 1
_TABLES: Final = {
    "states": "(asterisk TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL,"
    " PRIMARY KEY (asterisk, key)) WITHOUT ROWID",
    # `datagrams` is NULL if there were too many to store.
    "journal": "(id INTEGER PRIMARY KEY, asterisk TEXT NOT NULL, at_ns INTEGER NOT NULL,"
    " datagrams BLOB)",
    "flushes": "(id INTEGER PRIMARY KEY, received_ns INTEGER NOT NULL, points INTEGER NOT NULL,"
    " lines BLOB NOT NULL, target TEXT NOT NULL, sender TEXT NOT NULL)",
}
_FASTEST: Final = 1
"""Level of zlib; datagrams repeat names, so even this one compresses them to a tenth."""
_LENGTH: Final = 4


_LOSS: Final = (
    "the file of live values is damaged: what it held is set aside. Gauges that are only counted up"
    " and down may be wrong until their Asterisk restarts or AMI tells them"
)

log = structlog.get_logger("collector.memory")


States = Mapping[str, Mapping[str, str | None]]
"""Texts by Asterisk and key, in the intake's own format; None deletes the key."""


class Journaled(NamedTuple):
    """Datagrams of one Asterisk up to a time; None: there were too many to store."""

    asterisk: str
    at_ns: int
    datagrams: Sequence[bytes] | None


class Flushed(NamedTuple):
    """An outbox entry of a flush: `points` lines of a sender, for a target."""

    received_ns: int
    points: int
    lines: bytes
    target: str
    sender: str


@dataclass(frozen=True, slots=True)
class Saved:
    """Contents of the file. `journal` and `flushes` are in order of storing."""

    states: Mapping[str, Mapping[str, str]]
    journal: Sequence[Journaled]
    flushes: Sequence[Flushed]


class LiveTable(Table):
    """Tables of live values of a state directory; only the first worker uses them."""

    @operation
    def read(self, database: sqlite3.Connection) -> Saved:
        """Return all content.

        If a row is damaged though the file is intact, all rows are deleted, since the journal is
        useless without the states that it continues.
        """
        try:
            return _read(database)
        except (zlib.error, struct.error, TypeError, ValueError) as error:
            log.error(_LOSS, reason="set-aside", why=str(error))
        for name in _TABLES:
            database.execute(f"DELETE FROM {name}")  # noqa: S608 - a constant
        return Saved({}, [], [])

    @operation
    def save(
        self, database: sqlite3.Connection, journaled: Sequence[Journaled], *, delivered: bool
    ) -> None:
        """Add datagrams; delete the last flush if the outbox has it (`delivered`)."""
        if delivered:
            database.execute("DELETE FROM flushes")
        database.executemany(
            "INSERT INTO journal (asterisk, at_ns, datagrams) VALUES (?, ?, ?)",
            [
                (one.asterisk, one.at_ns, None if one.datagrams is None else _packed(one.datagrams))
                for one in journaled
            ],
        )

    @operation
    def flush(
        self, database: sqlite3.Connection, changed: States, flushed: Sequence[Flushed]
    ) -> None:
        """Change states, empty the journal, and store the flush until the outbox has it."""
        database.execute("DELETE FROM journal")
        database.execute("DELETE FROM flushes")
        rows = [(name, *state) for name, texts in changed.items() for state in texts.items()]
        database.executemany(
            "INSERT OR REPLACE INTO states VALUES (?, ?, ?)",
            [row for row in rows if row[2] is not None],
        )
        database.executemany(
            "DELETE FROM states WHERE asterisk = ? AND key = ?",
            [row[:2] for row in rows if row[2] is None],
        )
        database.executemany(
            "INSERT INTO flushes (received_ns, points, lines, target, sender)"
            " VALUES (?, ?, ?, ?, ?)",
            flushed,
        )

    @operation
    def forget(self, database: sqlite3.Connection, *, but: Iterable[str]) -> None:
        """Delete the rows of all Asterisks but these, after a change of the operator's file."""
        names = sorted(but)
        marks = ",".join("?" * len(names))
        for table in ("states", "journal"):
            database.execute(
                f"DELETE FROM {table} WHERE asterisk NOT IN ({marks})",  # noqa: S608 - marks
                names,
            )


def _read(database: sqlite3.Connection) -> Saved:
    """All content. Raises zlib.error, struct.error, TypeError or ValueError for a damaged row."""
    states: dict[str, dict[str, str]] = {}
    for asterisk, key, text in database.execute("SELECT asterisk, key, state FROM states"):
        states.setdefault(asterisk, {})[key] = str(text)
    journal = [
        Journaled(asterisk, int(at), None if packed is None else _unpacked(packed))
        for asterisk, at, packed in database.execute(
            "SELECT asterisk, at_ns, datagrams FROM journal ORDER BY id"
        )
    ]
    flushes = [
        Flushed(*row)
        for row in database.execute(
            "SELECT received_ns, points, lines, target, sender FROM flushes ORDER BY id"
        )
    ]
    return Saved(states, journal, flushes)


def _packed(datagrams: Sequence[bytes]) -> bytes:
    """Datagrams as one compressed value: number, lengths, contents."""
    lengths = struct.pack(f"<{len(datagrams) + 1}I", len(datagrams), *map(len, datagrams))
    return zlib.compress(lengths + b"".join(datagrams), _FASTEST)


def _unpacked(packed: bytes) -> list[bytes]:
    """The datagrams of `_packed`. Raises zlib.error, struct.error or TypeError."""
    whole = zlib.decompress(packed)
    (count,) = struct.unpack_from("<I", whole)
    lengths = struct.unpack_from(f"<{count}I", whole, _LENGTH)
    ends = list(accumulate(lengths, initial=_LENGTH * (count + 1)))
    return [whole[start:end] for start, end in pairwise(ends)]


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    set_pragmas(database, path, newest=_VERSION, secure_delete="FAST")
    creation = [f"CREATE TABLE {name} {columns}" for name, columns in _TABLES.items()]
    migrate(database, {0: creation}, newest=_VERSION)
    if not tables(database) >= _TABLES.keys():
        raise MemoryDamaged(f"{path} holds no live values: it lacks tables")


CONTENT: Final = Content(_prepare, lambda _path: {}, _LOSS)
