"""Erasures asked for, the brake on them, and the notices of those that are done.

An erasure is kept from its request until it is done, so that neither an outage nor a crash loses
it; then its pseudonym goes too, and only the receipt stays for whoever waits for it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from datetime import date
from typing import Final

from collector.memory.records import Action, Asked, Notice, State
from collector.memory.store import Table, operation
from collector.memory.tags import forget_sayer
from collector.privacy import OwnerMark, ServerPseudonym

_COLUMNS: Final = "id, asked_ns, server, action, state, until_ns, found, plan, delayed"
_HOUR_NS: Final = 3600 * 10**9


class ErasuresTable(Table):
    """The erasures of a state directory, whichever worker or command took them in."""

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
        """Have an erasure done; its number. The same asked again is the one that waits already."""
        return _ask(database, server, action, State.ACCEPTED, now_ns, until_ns)

    @operation
    def ask_braked(
        self,
        database: sqlite3.Connection,
        server: ServerPseudonym,
        action: Action,
        now_ns: int,
        *,
        per_hour: int,
    ) -> tuple[int, State]:
        """As `ask`, but queued for an operator where `per_hour` were let through in an hour."""
        # What lies far ahead was let through under a clock that has been set back.
        database.execute("DELETE FROM let_through WHERE abs(at_ns - ?) >= ?", (now_ns, _HOUR_NS))
        (taken,) = database.execute("SELECT count(*) FROM let_through").fetchone()
        state = State.QUEUED if taken >= per_hour else State.ACCEPTED
        if state is State.ACCEPTED:
            database.execute("INSERT INTO let_through VALUES (?)", (now_ns,))
        return _ask(database, server, action, state, now_ns, 0), state

    @operation
    def all(self, database: sqlite3.Connection, *states: State) -> list[Asked]:
        """The erasures in these states, oldest first; those begun before all others."""
        marks = ",".join("?" * len(states))
        rows = database.execute(
            f"SELECT {_COLUMNS} FROM erasures WHERE state IN ({marks})"  # noqa: S608 - marks
            " ORDER BY state != 'planned', id",
            states,
        ).fetchall()
        return [_asked(row) for row in rows]

    @operation
    def days_planned(self, database: sqlite3.Connection) -> frozenset[date]:
        """The days of whose raw reports an unfinished erasure may have deleted some."""
        rows = database.execute("SELECT plan FROM erasures WHERE state = 'planned'").fetchall()
        return frozenset(
            date.fromisoformat(day) for (plan,) in rows for day in json.loads(plan)["days"]
        )

    @operation
    def one(self, database: sqlite3.Connection, number: int) -> Asked | None:
        """The erasure of a number; None where there is none any more."""
        row = database.execute(
            f"SELECT {_COLUMNS} FROM erasures WHERE id = ?",  # noqa: S608 - a constant
            (number,),
        ).fetchone()
        return None if row is None else _asked(row)

    @operation
    def note(self, database: sqlite3.Connection, number: int, *, until_ns: int, found: str) -> None:
        """Remember which rows of the outboxes an erasure is about to remove."""
        database.execute(
            "UPDATE erasures SET until_ns = ?, found = ? WHERE id = ?", (until_ns, found, number)
        )

    @operation
    def choice_kept(self, database: sqlite3.Connection, number: int) -> None:
        """The choice that an erasure comes with is kept, and is not to be made again."""
        database.execute("UPDATE erasures SET found = '{}' WHERE id = ? AND found = ''", (number,))

    @operation
    def begin(self, database: sqlite3.Connection, number: int, *, plan: str) -> None:
        """Remember that an erasure is about to touch what is stored.

        `plan` is JSON; its `days` (ISO) are those of whose raw reports some are to be deleted.
        """
        database.execute(
            "UPDATE erasures SET state = 'planned', plan = ? WHERE id = ?", (plan, number)
        )

    @operation
    def take_back(self, database: sqlite3.Connection, number: int) -> None:
        """An erasure touched nothing and is to be begun anew."""
        database.execute(
            "UPDATE erasures SET state = 'accepted', plan = '' WHERE id = ?", (number,)
        )

    @operation
    def finish(
        self, database: sqlite3.Connection, asked: Asked, *, receipt: str, notice: Notice | None
    ) -> None:
        """An erasure is done: whose it was is forgotten, and a notice waits for InfluxDB."""
        database.execute(
            "UPDATE erasures SET state = 'done', server = '', found = '', plan = ? WHERE id = ?",
            (receipt, asked.id),
        )
        if notice is not None:
            _give_notices(database, [notice])
        if asked.server and asked.action is not Action.OPT_IN:
            forget_sayer(database, asked.server)

    @operation
    def delay(self, database: sqlite3.Connection) -> None:
        """None of the erasures that are to be done can be done now: their owners are told so."""
        database.execute("UPDATE erasures SET delayed = 1 WHERE state IN ('accepted', 'planned')")

    @operation
    def release(self, database: sqlite3.Connection, numbers: Iterable[int]) -> int:
        """Let queued erasures be done; how many were queued."""
        return database.executemany(
            "UPDATE erasures SET state = 'accepted' WHERE id = ? AND state = 'queued'",
            [(number,) for number in numbers],
        ).rowcount

    @operation
    def drop(self, database: sqlite3.Connection, numbers: Iterable[int]) -> int:
        """Forget queued erasures; how many were queued."""
        return database.executemany(
            "DELETE FROM erasures WHERE id = ? AND state = 'queued'",
            [(number,) for number in numbers],
        ).rowcount

    @operation
    def forget_receipts(self, database: sqlite3.Connection, *, asked_before_ns: int) -> None:
        """Forget erasures that are done and were asked for before a time."""
        database.execute(
            "DELETE FROM erasures WHERE state = 'done' AND asked_ns < ?", (asked_before_ns,)
        )

    @operation
    def notices(self, database: sqlite3.Connection) -> list[Notice]:
        """The notices that InfluxDB does not have yet."""
        rows = database.execute(
            "SELECT owner, at_ns, days FROM erasure_notices ORDER BY at_ns"
        ).fetchall()
        return [Notice(OwnerMark(owner), at, days) for owner, at, days in rows]

    @operation
    def notice_given(self, database: sqlite3.Connection, notice: Notice) -> None:
        """InfluxDB has a notice."""
        database.execute("DELETE FROM erasure_notices WHERE at_ns = ?", (notice.at_ns,))

    @operation
    def remember_erased(
        self, database: sqlite3.Connection, notices: Iterable[Notice], *, oldest_ns: int
    ) -> None:
        """Keep that what these owners sent is erased; forget erasures before `oldest_ns`."""
        _remember(database, notices)
        database.execute("DELETE FROM erased WHERE at_ns < ?", (oldest_ns,))

    @operation
    def erased(self, database: sqlite3.Connection) -> dict[OwnerMark, int]:
        """Up to when what an owner sent is erased, in ns."""
        rows = database.execute("SELECT owner, at_ns FROM erased").fetchall()
        return {OwnerMark(owner): at for owner, at in rows}


def absorb(
    database: sqlite3.Connection,
    asked: Iterable[Asked],
    notices: Iterable[Notice],
    erased: Iterable[Notice],
) -> None:
    """Take over erasures of an earlier version's outbox, within a transaction; twice as once."""
    for one in asked:
        known = database.execute(
            "SELECT 1 FROM erasures WHERE asked_ns = ? AND server = ? AND action = ?",
            (one.asked_ns, one.server, one.action.value),
        ).fetchone()
        if known is None:
            database.execute(
                "INSERT INTO erasures (asked_ns, server, action, state, until_ns, found, plan)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    one.asked_ns,
                    one.server,
                    one.action.value,
                    one.state.value,
                    one.until_ns,
                    one.found,
                    one.plan,
                ),
            )
    _give_notices(database, notices)
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
        # It is tried again for whoever asks again.
        database.execute("UPDATE erasures SET delayed = 0 WHERE id = ?", found)
    return int(found[0])


def _give_notices(database: sqlite3.Connection, notices: Iterable[Notice]) -> None:
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


def _asked(row: tuple[int, int, str, str, str, int, str, str, int]) -> Asked:
    number, asked_ns, server, action, state, until_ns, found, plan, delayed = row
    return Asked(
        number,
        asked_ns,
        ServerPseudonym(server),
        Action(action),
        State(state),
        until_ns,
        found,
        plan,
        bool(delayed),
    )
