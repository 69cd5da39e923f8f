"""Finds and erases the rows of a server in an outbox's file."""

from __future__ import annotations

from typing import Final

from collector.outbox.batches import PENDING
from collector.outbox.dead_letters import DeadLetters
from collector.outbox.errors import translated_errors
from collector.outbox.queues import queue_of
from collector.outbox.rows import Held, Pending
from collector.privacy import ServerPseudonym

_ERASED: Final = "the words named what was erased"


class Owned(DeadLetters):
    """The part of an outbox's file that finds and deletes the rows of a server."""

    def held(self, server: ServerPseudonym) -> Held:
        """Return all rows of a server. Reads the whole file."""
        with translated_errors():
            delivered = dict(self._database.execute("SELECT queue, delivered_id FROM cursors"))
            rows = self._database.execute(
                f"SELECT {PENDING} FROM entries WHERE server = ? ORDER BY id",  # noqa: S608
                (server,),
            ).fetchall()
        entries: dict[bool, list[Pending]] = {True: [], False: []}
        for one in map(Pending._make, rows):
            entries[one.id > delivered[queue_of(one.target)]].append(one)
        dead = tuple(letter for letter in self.dead_letters() if letter.server == server)
        return Held(tuple(entries[True]), tuple(entries[False]), dead)

    def servers(self) -> dict[ServerPseudonym, int]:
        """Return each server that has rows here, and when its oldest was received, in ns."""
        with translated_errors():
            rows = self._database.execute(
                "SELECT server, min(received_ns) FROM (SELECT server, received_ns FROM entries"
                " UNION ALL SELECT server, received_ns FROM dead_letters)"
                " WHERE server != '' GROUP BY server"
            ).fetchall()
        return {ServerPseudonym(server): oldest for server, oldest in rows}

    def erase(self, server: ServerPseudonym, held: Held) -> None:
        """Delete the rows `held` of a server, in a transaction of its own."""
        with self.transaction():
            for table, found in (
                ("entries", (*held.waiting, *held.delivered)),
                ("dead_letters", held.dead),
            ):
                self._database.executemany(
                    f"DELETE FROM {table} WHERE id = ? AND server = ?",  # noqa: S608 - a constant
                    [(item.id, server) for item in found],
                )
            # A target's error text for a batch may quote a line of another server in it.
            self._database.execute(
                "UPDATE dead_letters SET reason = ? WHERE server != ? AND instr(reason, ?)",
                (_ERASED, server, server),
            )
