"""The tables of erasure requests, their hourly limit, and the notices of finished erasures.

A request is stored from its arrival until it is done, so that neither an outage nor a crash loses
it. Then its pseudonym is deleted, and only the receipt stays, for the client that waits for it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import astuple
from datetime import date
from typing import Final

from collector.days import NS_PER_HOUR
from collector.memory.records import Action, ErasureRequest, Notice, State
from collector.memory.store import Table, operation
from collector.memory.tags import forget_reporter
from collector.privacy import OwnerMark, ServerPseudonym

_COLUMNS: Final = "id, asked_ns, server, action, state, until_ns, found, plan, delayed"


class ErasuresTable(Table):
    """The erasure requests of a state directory, from all workers and commands."""

    @operation
    def ask(
        self,
        database: sqlite3.Connection,
        server: ServerPseudonym,
        action: Action,
        now_ns: int,
        *,
        until_ns: int = 0,
    ) -> int:
        """Request an erasure and return its number, or that of an equal pending request."""
        return _ask(database, server, action, State.ACCEPTED, now_ns, until_ns)

    @operation
    def ask_limited(
        self,
        database: sqlite3.Connection,
        server: ServerPseudonym,
        action: Action,
        now_ns: int,
        *,
        per_hour: int,
    ) -> tuple[int, State]:
        """Request as `ask` does, but queue for an operator what exceeds `per_hour` in an hour."""
        # A time far ahead was stored before the clock was set back.
        database.execute("DELETE FROM let_through WHERE abs(at_ns - ?) >= ?", (now_ns, NS_PER_HOUR))
        (taken,) = database.execute("SELECT count(*) FROM let_through").fetchone()
        state = State.QUEUED if taken >= per_hour else State.ACCEPTED
        if state is State.ACCEPTED:
            database.execute("INSERT INTO let_through VALUES (?)", (now_ns,))
        return _ask(database, server, action, state, now_ns, 0), state

    @operation
    def all(self, database: sqlite3.Connection, *states: State) -> list[ErasureRequest]:
        """Return the erasures in these states: those begun first, then the others, oldest first."""
        marks = ",".join("?" * len(states))
        rows = database.execute(
            f"SELECT {_COLUMNS} FROM erasures WHERE state IN ({marks})"  # noqa: S608 - marks
            " ORDER BY state != 'planned', id",
            states,
        ).fetchall()
        return [_asked(row) for row in rows]

    @operation
    def days_planned(self, database: sqlite3.Connection) -> frozenset[date]:
        """Return the days of which an unfinished erasure may have deleted raw reports."""
        rows = database.execute("SELECT plan FROM erasures WHERE state = 'planned'").fetchall()
        return frozenset(
            date.fromisoformat(day) for (plan,) in rows for day in json.loads(plan)["days"]
        )

    @operation
    def one(self, database: sqlite3.Connection, number: int) -> ErasureRequest | None:
        """Return the erasure of a number; None if it no longer exists."""
        row = database.execute(
            f"SELECT {_COLUMNS} FROM erasures WHERE id = ?",  # noqa: S608 - a constant
            (number,),
        ).fetchone()
        return None if row is None else _asked(row)

    @operation
    def note(self, database: sqlite3.Connection, number: int, *, until_ns: int, found: str) -> None:
        """Record which rows of the outboxes an erasure is about to delete."""
        database.execute(
            "UPDATE erasures SET until_ns = ?, found = ? WHERE id = ?", (until_ns, found, number)
        )

    @operation
    def mark_choice_stored(self, database: sqlite3.Connection, number: int) -> None:
        """Record that the opt-out of an erasure request is stored, so it is not stored again."""
        database.execute("UPDATE erasures SET found = '{}' WHERE id = ? AND found = ''", (number,))

    @operation
    def begin(self, database: sqlite3.Connection, number: int, *, plan: str) -> None:
        """Record, before it deletes anything, that an erasure begins.

        `plan` is JSON; its `days` (ISO dates) are those of which raw reports will be deleted.
        """
        database.execute(
            "UPDATE erasures SET state = 'planned', plan = ? WHERE id = ?", (plan, number)
        )

    @operation
    def reset(self, database: sqlite3.Connection, number: int) -> None:
        """Set an erasure that deleted nothing back to its state before `begin`."""
        database.execute(
            "UPDATE erasures SET state = 'accepted', plan = '' WHERE id = ?", (number,)
        )

    @operation
    def finish(
        self,
        database: sqlite3.Connection,
        asked: ErasureRequest,
        *,
        receipt: str,
        notice: Notice | None,
    ) -> None:
        """Mark an erasure as done, delete its pseudonym, and store its notice for InfluxDB."""
        database.execute(
            "UPDATE erasures SET state = 'done', server = '', found = '', plan = ? WHERE id = ?",
            (receipt, asked.id),
        )
        if notice is not None:
            _add_notices(database, [notice])
        if asked.server and asked.action is not Action.OPT_IN:
            forget_reporter(database, asked.server)

    @operation
    def delay(self, database: sqlite3.Connection, numbers: Iterable[int] | None = None) -> None:
        """Mark these pending erasures, or all, as delayed: the reply to waiting clients."""
        pending = "UPDATE erasures SET delayed = 1 WHERE state IN ('accepted', 'planned')"
        if numbers is None:
            database.execute(pending)
        else:
            database.executemany(f"{pending} AND id = ?", [(number,) for number in numbers])

    @operation
    def release(self, database: sqlite3.Connection, numbers: Iterable[int]) -> int:
        """Accept queued erasures; return how many of the numbers were queued."""
        return _change_queued(database, "UPDATE erasures SET state = 'accepted'", numbers)

    @operation
    def drop(self, database: sqlite3.Connection, numbers: Iterable[int]) -> int:
        """Delete queued erasures; return how many of the numbers were queued."""
        return _change_queued(database, "DELETE FROM erasures", numbers)

    @operation
    def forget_receipts(self, database: sqlite3.Connection, *, asked_before_ns: int) -> None:
        """Delete finished erasures requested before a time."""
        database.execute(
            "DELETE FROM erasures WHERE state = 'done' AND asked_ns < ?", (asked_before_ns,)
        )

    @operation
    def notices(self, database: sqlite3.Connection) -> list[Notice]:
        """Return the notices not yet stored in InfluxDB."""
        rows = database.execute(
            "SELECT owner, at_ns, days FROM erasure_notices ORDER BY at_ns"
        ).fetchall()
        return [Notice(OwnerMark(owner), at, days) for owner, at, days in rows]

    @operation
    def remove_notice(self, database: sqlite3.Connection, notice: Notice) -> None:
        """Delete a notice that is stored in InfluxDB."""
        database.execute("DELETE FROM erasure_notices WHERE at_ns = ?", (notice.at_ns,))

    @operation
    def remember_erased(
        self, database: sqlite3.Connection, notices: Iterable[Notice], *, oldest_ns: int
    ) -> None:
        """Record up to when owners' reports are erased; delete records before `oldest_ns`."""
        _remember(database, notices)
        database.execute("DELETE FROM erased WHERE at_ns < ?", (oldest_ns,))

    @operation
    def erased(self, database: sqlite3.Connection) -> dict[OwnerMark, int]:
        """Return, for each owner, the time (ns) up to which the owner's reports are erased."""
        rows = database.execute("SELECT owner, at_ns FROM erased").fetchall()
        return {OwnerMark(owner): at for owner, at in rows}


def import_legacy(
    database: sqlite3.Connection,
    asked: Iterable[ErasureRequest],
    notices: Iterable[Notice],
    erased: Iterable[Notice],
) -> None:
    """Import erasures from an earlier version's outbox; idempotent. In a transaction."""
    for one in asked:
        known = database.execute(
            "SELECT 1 FROM erasures WHERE asked_ns = ? AND server = ? AND action = ?",
            (one.asked_ns, one.server, one.action.value),
        ).fetchone()
        if known is None:
            database.execute(
                "INSERT INTO erasures (asked_ns, server, action, state, until_ns, found, plan)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                astuple(one)[1:8],
            )
    _add_notices(database, notices)
    _remember(database, erased)


def _ask(
    database: sqlite3.Connection,
    server: ServerPseudonym,
    action: Action,
    state: State,
    now_ns: int,
    until_ns: int,
) -> int:
    found = database.execute(
        "SELECT id FROM erasures WHERE server = ? AND action = ? AND state = ?"
        " AND until_ns >= ? ORDER BY id LIMIT 1",
        (server, action, state, until_ns),
    ).fetchone()
    if found is None:
        found = database.execute(
            "INSERT INTO erasures (asked_ns, server, action, state, until_ns, found, plan)"
            " VALUES (?, ?, ?, ?, ?, '', '') RETURNING id",
            (now_ns, server, action, state, until_ns),
        ).fetchone()
    else:
        # Asking again starts another try.
        database.execute("UPDATE erasures SET delayed = 0 WHERE id = ?", found)
    return int(found[0])


def _change_queued(database: sqlite3.Connection, change: str, numbers: Iterable[int]) -> int:
    return database.executemany(
        f"{change} WHERE id = ? AND state = 'queued'", [(number,) for number in numbers]
    ).rowcount


def _add_notices(database: sqlite3.Connection, notices: Iterable[Notice]) -> None:
    given = list(notices)
    database.executemany(
        "INSERT OR REPLACE INTO erasure_notices VALUES (?, ?, ?)",
        [(notice.at_ns, notice.owner, notice.days) for notice in given],
    )
    _remember(database, given)


def _remember(database: sqlite3.Connection, notices: Iterable[Notice]) -> None:
    database.executemany(
        "INSERT INTO erased VALUES (?, ?) ON CONFLICT (owner) DO UPDATE"
        " SET at_ns = max(at_ns, excluded.at_ns)",
        [(notice.owner, notice.at_ns) for notice in notices],
    )


def _asked(row: tuple[int, int, str, str, str, int, str, str, int]) -> ErasureRequest:
    number, asked_ns, server, action, state, until_ns, found, plan, delayed = row
    named = (ServerPseudonym(server), Action(action), State(state))
    return ErasureRequest(number, asked_ns, *named, until_ns, found, plan, bool(delayed))
