"""What the outbox's file remembers for owners: erasures to be done, choices, notices to be given.

An erasure is kept from its request until it is done, so that neither an outage nor a crash loses
it; then its pseudonym goes too, and only the receipt stays for whoever waits for it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from collector.outbox.errors import as_written, named
from collector.privacy import OwnerMark, ServerPseudonym

SCHEMA: Final = """
CREATE TABLE erasures (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    asked_ns INTEGER NOT NULL,
    server TEXT NOT NULL,
    action TEXT NOT NULL,
    state TEXT NOT NULL,
    until_ns INTEGER NOT NULL,
    found TEXT NOT NULL,
    plan TEXT NOT NULL
);
CREATE TABLE owner_choices (
    owner TEXT PRIMARY KEY, choice TEXT NOT NULL, at_ns INTEGER NOT NULL, told INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE erasure_notices (
    at_ns INTEGER PRIMARY KEY, owner TEXT NOT NULL, days TEXT NOT NULL
);
"""

ERASED: Final = """
CREATE TABLE erased (owner TEXT PRIMARY KEY, at_ns INTEGER NOT NULL) WITHOUT ROWID
"""
"""What was erased, by owner: an outbox that was set aside may still hold it."""


class Action(StrEnum):
    """What an owner, or another collector's notice, asks for."""

    ERASE = "erase"
    OPT_OUT = "opt-out"
    OPT_IN = "opt-in"
    """Asked for by a command; nothing is erased."""
    NOTICE = "notice"
    """Another collector erased; what this one still held is to follow."""


class State(StrEnum):
    """How far an erasure is."""

    QUEUED = "queued"
    """It waits for an operator."""
    ACCEPTED = "accepted"
    PLANNED = "planned"
    """Something may have been deleted already: it must be brought to its end."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Asked:
    """An erasure asked for. `found` and `plan` are the eraser's own, empty before they are made.

    `until_ns` bounds what a notice is about by the time of receipt; 0: all up to when it is done.
    """

    id: int
    asked_ns: int
    server: ServerPseudonym
    action: Action
    state: State
    until_ns: int
    found: str
    plan: str


@dataclass(frozen=True, slots=True)
class Choice:
    """An owner's choice, whether reports are dropped (`out`), and when it was made."""

    owner: OwnerMark
    out: bool
    at_ns: int


@dataclass(frozen=True, slots=True)
class Notice:
    """That what an owner sent up to a time was erased, and of which days (ISO, comma between)."""

    owner: OwnerMark
    at_ns: int
    days: str


_COLUMNS: Final = "id, asked_ns, server, action, state, until_ns, found, plan"


class OwnersTables:
    """The tables of one connection; what changes them belongs into a transaction of the file.

    Every method raises OutboxUnavailable where the file cannot be used.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def ask(
        self,
        server: ServerPseudonym,
        action: Action,
        state: State,
        asked_ns: int,
        *,
        until_ns: int = 0,
    ) -> int:
        """Remember an erasure; its number. The same asked again is the one that waits already."""
        with named():
            found = self._database.execute(
                "SELECT id FROM erasures WHERE server = ? AND action = ? AND state = ?"
                " AND until_ns >= ? ORDER BY id LIMIT 1",
                (server, action, state, until_ns),
            ).fetchone()
            if found is None:
                found = self._database.execute(
                    "INSERT INTO erasures (asked_ns, server, action, state, until_ns, found, plan)"
                    " VALUES (?, ?, ?, ?, ?, '', '') RETURNING id",
                    (asked_ns, server, action, state, until_ns),
                ).fetchone()
            return int(found[0])

    def asked(self, *states: State) -> list[Asked]:
        """The erasures in these states, oldest first; those begun before all others."""
        marks = ",".join("?" * len(states))
        with named():
            rows = self._database.execute(
                f"SELECT {_COLUMNS} FROM erasures WHERE state IN ({marks})"  # noqa: S608 - marks
                " ORDER BY state != 'planned', id",
                states,
            ).fetchall()
        return [_asked(row) for row in rows]

    def one(self, number: int) -> Asked | None:
        """The erasure of a number; None where there is none any more."""
        with named():
            row = self._database.execute(
                f"SELECT {_COLUMNS} FROM erasures WHERE id = ?",  # noqa: S608 - a constant
                (number,),
            ).fetchone()
        return None if row is None else _asked(row)

    def note(self, number: int, *, found: str) -> None:
        """Remember what an erasure has removed from the outbox."""
        self._update("found = ?", number, found)

    def begin(self, number: int, *, until_ns: int, plan: str) -> None:
        """An erasure is about to touch what is stored."""
        self._update("state = 'planned', until_ns = ?, plan = ?", number, until_ns, plan)

    def take_back(self, number: int) -> None:
        """An erasure touched nothing and is to be begun anew."""
        self._update("state = 'accepted', plan = ''", number)

    def finish(self, number: int, *, receipt: str) -> None:
        """An erasure is done: whose it was is forgotten."""
        self._update("state = 'done', server = '', found = '', plan = ?", number, receipt)

    def release(self, numbers: Iterable[int]) -> int:
        """Let queued erasures be done; how many were queued."""
        with named():
            return self._database.executemany(
                "UPDATE erasures SET state = 'accepted' WHERE id = ? AND state = 'queued'",
                [(number,) for number in numbers],
            ).rowcount

    def drop(self, numbers: Iterable[int]) -> int:
        """Forget queued erasures; how many were queued."""
        with named():
            return self._database.executemany(
                "DELETE FROM erasures WHERE id = ? AND state = 'queued'",
                [(number,) for number in numbers],
            ).rowcount

    def forget_receipts(self, *, asked_before_ns: int) -> None:
        """Forget erasures that are done and were asked for before a time."""
        with named():
            self._database.execute(
                "DELETE FROM erasures WHERE state = 'done' AND asked_ns < ?", (asked_before_ns,)
            )

    def choose(self, choice: Choice, *, told: bool) -> None:
        """Keep an owner's choice unless a later one is kept; `told`: InfluxDB has it."""
        with named():
            self._database.execute(
                "INSERT INTO owner_choices VALUES (?, ?, ?, ?) ON CONFLICT (owner) DO UPDATE"
                " SET choice = excluded.choice, at_ns = excluded.at_ns, told = excluded.told"
                " WHERE excluded.at_ns >= at_ns",
                (choice.owner, "opt-out" if choice.out else "opt-in", choice.at_ns, told),
            )

    def choices(self, *, untold: bool = False) -> list[Choice]:
        """Every owner's choice, or those that InfluxDB does not have yet."""
        where = " WHERE NOT told" if untold else ""
        with named():
            rows = self._database.execute(
                f"SELECT owner, choice, at_ns FROM owner_choices{where}"  # noqa: S608 - a constant
            ).fetchall()
        return [Choice(OwnerMark(owner), said == "opt-out", at) for owner, said, at in rows]

    def give_notice(self, notice: Notice) -> None:
        """Keep a notice until InfluxDB has it."""
        with named():
            self._database.execute(
                "INSERT INTO erasure_notices VALUES (?, ?, ?)",
                (notice.at_ns, notice.owner, notice.days),
            )
        self.remember_erased([notice])

    def notices(self) -> list[Notice]:
        """The notices that InfluxDB does not have yet."""
        with named():
            rows = self._database.execute(
                "SELECT owner, at_ns, days FROM erasure_notices ORDER BY at_ns"
            ).fetchall()
        return [Notice(OwnerMark(owner), at, days) for owner, at, days in rows]

    def remember_erased(self, notices: Iterable[Notice]) -> None:
        """Keep that what these owners sent is erased, so that nothing brings it back."""
        with named():
            self._database.executemany(
                "INSERT INTO erased VALUES (?, ?) ON CONFLICT (owner) DO UPDATE"
                " SET at_ns = max(at_ns, excluded.at_ns)",
                [(notice.owner, notice.at_ns) for notice in notices],
            )

    def erased(self) -> dict[OwnerMark, int]:
        """Up to when what an owner sent is erased, in ns."""
        with named():
            rows = self._database.execute("SELECT owner, at_ns FROM erased").fetchall()
        return {OwnerMark(owner): at for owner, at in rows}

    def forget_erased(self, *, before_ns: int) -> None:
        """Forget erasures of what InfluxDB would not take any more."""
        with named():
            self._database.execute("DELETE FROM erased WHERE at_ns < ?", (before_ns,))

    def tell_again(self, *, since_ns: int) -> None:
        """An InfluxDB restored from a backup may not know the choices made since a time."""
        with named():
            self._database.execute(
                "UPDATE owner_choices SET told = 0 WHERE at_ns >= ?", (since_ns,)
            )

    def notice_given(self, notice: Notice) -> None:
        """InfluxDB has a notice."""
        with named():
            self._database.execute("DELETE FROM erasure_notices WHERE at_ns = ?", (notice.at_ns,))

    def check(self) -> None:
        """Read all that is here. Raises OutboxDamaged where some is not as it was written."""
        self.notices()
        self.erased()
        self.choices()
        with as_written():
            self.asked(*State)

    def restore(
        self,
        choices: Iterable[Choice],
        erasures: Iterable[Asked],
        notices: Iterable[Notice],
        erased: Iterable[Notice],
    ) -> None:
        """Take over what an earlier file remembered, under the same numbers."""
        for choice in choices:
            self.choose(choice, told=False)
        with named():
            self._database.executemany(
                "INSERT OR IGNORE INTO erasures VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        one.id,
                        one.asked_ns,
                        one.server,
                        one.action.value,
                        one.state.value,
                        one.until_ns,
                        one.found,
                        one.plan,
                    )
                    for one in erasures
                ],
            )
        for notice in {notice.at_ns: notice for notice in notices}.values():
            self.give_notice(notice)
        self.remember_erased(erased)

    def _update(self, what: str, number: int, *values: object) -> None:
        # `what` holds marks, the values come apart.
        with named():
            self._database.execute(
                f"UPDATE erasures SET {what} WHERE id = ?",  # noqa: S608 - see above
                (*values, number),
            )


def _asked(row: tuple[int, int, str, str, str, int, str, str]) -> Asked:
    number, asked_ns, server, action, state, until_ns, found, plan = row
    return Asked(
        number,
        asked_ns,
        ServerPseudonym(server),
        Action(action),
        State(state),
        until_ns,
        found,
        plan,
    )
