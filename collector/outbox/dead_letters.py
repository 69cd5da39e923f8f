"""Dead letters of an outbox's file: lines that a target refused for good."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from collector.outbox.errors import translated_errors
from collector.outbox.rows import DeadLetter
from collector.outbox.space import Space
from collector.privacy import ServerPseudonym

_LETTER: Final = "received_ns, server, line, reason, set_aside_ns, target, sender"


class DeadLetters(Space):
    """The part of an outbox's file that holds dead letters."""

    def put_dead_letter(self, letter: DeadLetter) -> None:
        """Append a dead letter, which gets a new number. In a transaction."""
        self._database.execute(
            f"INSERT INTO dead_letters ({_LETTER})"  # noqa: S608 - a constant
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (letter.received_ns, letter.server or "", *letter[3:]),
        )

    def has_dead_letter(self, letter: DeadLetter) -> bool:
        """Return whether there is a dead letter of the same line and target."""
        with translated_errors():
            found = self._database.execute(
                "SELECT 1 FROM dead_letters WHERE line = ? AND target = ? LIMIT 1",
                (letter.line, letter.target),
            ).fetchone()
        return found is not None

    def dead_letters(self) -> list[DeadLetter]:
        """Return all dead letters, oldest first."""
        with translated_errors():
            rows = self._database.execute(
                f"SELECT id, {_LETTER} FROM dead_letters ORDER BY id"  # noqa: S608 - a constant
            ).fetchall()
        return [
            DeadLetter(id_, at, ServerPseudonym(server) if server else None, *rest)
            for id_, at, server, *rest in rows
        ]

    def drop_dead_letters(self, numbers: Iterable[int] | None = None) -> int:
        """Delete the dead letters of these numbers, or all; return how many."""
        with self.transaction():
            if numbers is None:
                count = self._database.execute("DELETE FROM dead_letters").rowcount
            else:
                count = self._database.executemany(
                    "DELETE FROM dead_letters WHERE id = ?", [(number,) for number in numbers]
                ).rowcount
        if count:
            self.fold()
        return count
