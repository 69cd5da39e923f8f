"""Erasure beyond the own state directory: orders to all participants, and the stream's messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from nats.js.errors import APIError, NotFoundError

from collector.jetstream import sealing
from collector.jetstream.board import Board
from collector.jetstream.connection import FAILURES, Connection, NatsUnavailable
from collector.jetstream.hops import Hops
from collector.jetstream.message import NotAnEntry, decode
from collector.jetstream.naming import range_subjects
from collector.jetstream.orders import NOTICE, order_erasure, order_quarantine, salt_of, tell_choice
from collector.jetstream.participants import HEARTBEAT_S, Seen, participants
from collector.memory import Choice
from collector.orders import PUBLISHER, Cleared, Elsewhere, ErasureOrder, Participant, digest_of
from collector.outbox.rows import Entry
from collector.privacy import OwnerMark, ServerPseudonym
from collector.settings import Settings

_LOOK_S: Final = 0.2
_LONG_AGO: Final = datetime.fromtimestamp(0, UTC)
_PATIENCE_S: Final = 30.0
"""Longest wait for participants that are alive."""
SILENT: Final = timedelta(seconds=4 * HEARTBEAT_S)
"""A participant that has stated nothing for this long is not waited for."""


class JetStreamHops(Hops):
    """Erases what other processes and the stream hold. `own` is the own id among participants.

    Each method raises NatsUnavailable.
    """

    def __init__(self, to: Connection, settings: Settings, own: str) -> None:
        self._connection = to
        self._board = Board(to, settings)
        self._stream = settings.nats_stream
        self._own = own
        self._keys = sealing.Keys(self._board)

    async def erase(
        self, server: ServerPseudonym, mark: OwnerMark, *, until_ns: int, asked_ns: int
    ) -> Elsewhere:
        """Order the erasure of a server's reports up to a time, and wait until it is carried out.

        Does not wait for participants that are silent; they carry it out when they are back. Safe
        to repeat: the counts of all tries of one request (`asked_ns`) are added.
        """
        digest = digest_of(server, await salt_of(self._board))
        order = ErasureOrder(digest, mark, until_ns, asked_ns)
        revision = await order_erasure(self._board, order)
        seen = await self._carried_out(revision)
        # Receivers have nothing left to publish now, and writers drop what they still pull.
        stream = await self.sweep(server, until_ns=until_ns)
        # The keys of messages that NATS has deleted, and still holds as bytes, are destroyed soon.
        await sealing.replace(self._board, await sealing.read(self._board))
        done = [one.participant for one in seen if one.participant.upto >= revision]
        counts = {one.name: one.cleared.get((digest, asked_ns), Cleared()) for one in done}
        return Elsewhere(
            stream,
            {name: cleared for name, cleared in sorted(counts.items()) if cleared},
            tuple(sorted(counts)),
            {
                one.participant.name: one.at.isoformat(timespec="seconds")
                for one in seen
                if one.participant.upto < revision
            },
        )

    async def sweep(self, server: ServerPseudonym, *, until_ns: int) -> int:
        """Delete a server's messages up to a time from the stream; return how many.

        Reads the messages of the pseudonym's range and deletes one by one, since a purge of the
        range would also take what other servers sent. NATS overwrites the bytes of each.
        """
        jetstream = await self._connection.jetstream()
        subject = range_subjects(self._stream, server)
        deleted, seq = 0, 1
        try:
            last = (await jetstream.stream_info(self._stream)).state.last_seq
            while seq <= last:
                message = await jetstream.get_msg(self._stream, seq, subject, next=True)
                found = message.seq or seq
                entry = await self._entry(message.data or b"")
                if entry is not None and entry.server == server and entry.received_ns <= until_ns:
                    deleted += await self._delete(found)
                seq = found + 1
        except NotFoundError:
            # No message is left, or no stream is made yet.
            pass
        except FAILURES as error:
            raise NatsUnavailable(f"the stream could not be searched: {error}") from error
        return deleted

    async def tell(self, choice: Choice) -> None:
        """Make an owner's choice known to all receivers."""
        await tell_choice(self._board, choice)

    async def quarantine(
        self, batch: int, span: tuple[int, int], servers: Sequence[ServerPseudonym]
    ) -> None:
        """Have reports of servers marked that are not stored yet, and wait for the writers.

        `span` is in ns. Without `servers`, no report is marked for the batch any more.
        """
        await self._carried_out(await order_quarantine(self._board, batch, span, servers))

    async def notice(self) -> None:
        """Make known that a notice of an erasure is in InfluxDB."""
        await self._board.put(NOTICE, b"")

    async def _carried_out(self, revision: int) -> list[Seen]:
        """Wait for the participants that are not silent; return all that have reports of others."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            everyone = await participants(self._board)
            others = [one for one in everyone if self._concerns(one.participant)]
            open_ = [one for one in others if one.participant.upto < revision]
            newest = max((one.at for one in everyone), default=_LONG_AGO)
            awaited = [
                one for one in open_ if not one.participant.is_stopped and newest - one.at < SILENT
            ]
            if not awaited or time.monotonic() >= deadline:
                return others
            await asyncio.sleep(_LOOK_S)

    def _concerns(self, participant: Participant) -> bool:
        # A publisher acts when the erasure is done; what it holds are counts of days.
        return participant.id != self._own and participant.role != PUBLISHER

    async def _entry(self, body: bytes) -> Entry | None:
        try:
            return decode(await self._keys.opened(body))
        except NotAnEntry:
            return None

    async def _delete(self, seq: int) -> bool:
        try:
            return await (await self._connection.jetstream()).delete_msg(self._stream, seq)
        except APIError:
            # A writer has acknowledged it meanwhile.
            return False
