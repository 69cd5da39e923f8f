"""Participants: processes that carry out orders, and what they state about it on the board."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import structlog

from collector.influx import InfluxError
from collector.jetstream.board import Board
from collector.jetstream.duties import Duties
from collector.jetstream.orders import ORDERS, Book, read_late
from collector.jetstream.sealing import Keeper, Keys
from collector.orders import Cleared, OrdersUnavailable, Participant, digest_of
from collector.sqlite.errors import StoreUnavailable
from collector.state import NotHeld

log = structlog.get_logger("collector.jetstream")

_AT: Final = "at"
_LOOK_S: Final = 0.5
ORDER_S: Final = 60.0
"""Time after which a participant that has not carried out an order is a problem."""
HEARTBEAT_S: Final = 3.0
"""Longest interval between two statements of a participant."""
_CLEARED_KEPT: Final = 20
_STOP_S: Final = 2.0


class Seen(NamedTuple):
    """A participant, and the server's time of its last statement."""

    participant: Participant
    at: datetime


async def participants(board: Board) -> list[Seen]:
    """Return all participants that ever stated anything. Raises NatsUnavailable."""
    found = []
    for stored in await board.after(_AT, 0):
        name = stored.key.partition(".")[2]
        try:
            found.append(Seen(Participant.read(name, stored.value), stored.at))
        except (ValueError, KeyError, TypeError) as error:
            log.error("a participant in NATS cannot be read", name=name, why=str(error))
    return found


class Behind(NamedTuple):
    """A participant that has not carried out all orders: how many are left to it, and since when.

    `at` is the server's time of its last statement, `since` that of the oldest order left.
    """

    name: str
    role: str
    host: str
    orders: int
    since: datetime
    at: datetime


async def behind(board: Board, *, for_s: float = 0.0) -> list[Behind]:
    """Return the participants that lack orders given `for_s` seconds ago or earlier.

    Makes no board. Raises NatsUnavailable.
    """
    if await board.replicas() is None:
        return []
    seen = await participants(board)
    orders = await board.after(ORDERS, min((one.participant.upto for one in seen), default=0))
    found = []
    before = datetime.now(UTC) - timedelta(seconds=for_s)
    for me, at in seen:
        left = [one for one in orders if one.revision > me.upto]
        if left and left[0].at <= before:
            found.append(Behind(me.name, me.role, me.host, len(left), left[0].at, at))
    return found


async def forget(board: Board, name: str) -> bool:
    """Delete a participant; return whether there was one. Raises NatsUnavailable."""
    if await board.replicas() is None:
        return False
    found = await board.last(f"{_AT}.{name}")
    if found is None:
        return False
    await board.erase(found.revision)
    return True


class Participation:
    """Carries out orders by `duties`, states up to which one, and looks after the keys."""

    def __init__(self, board: Board, me: Participant, duties: Duties) -> None:
        self._board = board
        self._book = Book(board)
        self._keys = Keys(board)
        self._me = me
        self._duties = duties
        self._keeper = Keeper(board)
        self._stated = -HEARTBEAT_S
        self._failed = False

    async def run(self) -> None:
        """Carry out orders, until cancelled."""
        try:
            await self._run()
        finally:
            # Without this statement an erasure waits some seconds for this process.
            with suppress(OrdersUnavailable, TimeoutError):
                async with asyncio.timeout(_STOP_S):
                    await self._state(replace(self._me, is_stopped=True))

    async def _run(self) -> None:
        while True:
            try:
                await self.step()
            except (OrdersUnavailable, StoreUnavailable, InfluxError, NotHeld, OSError) as error:
                if not self._failed:
                    log.warning("orders of owners cannot be carried out now", why=str(error))
                self._failed = True
            else:
                if self._failed:
                    log.info("orders of owners are carried out again")
                self._failed = False
            await asyncio.sleep(_LOOK_S)

    async def step(self) -> None:
        """Carry out the orders given since the last step; at first, and after a failure, all.

        Everything is done again at a start, as the files may be those of a backup.
        """
        book, self._book = self._book, Book(self._board)
        news = await book.refresh()
        cleared = dict(self._me.cleared)
        if news.quarantines:
            await self._duties.settle()
        if news.choices:
            await self._duties.choose(news.choices)
        if news.erasures:
            orders = {one.digest: one for one in news.erasures}
            salt = book.salt
            found = await self._duties.erase(
                news.erasures, lambda server: orders.get(digest_of(server, salt))
            )
            for order, counts in found.items():
                key = (order.digest, order.asked_ns)
                cleared[key] = cleared.pop(key, Cleared()) + counts
        if news.has_notice:
            await self._duties.notice()
        for stored in news.late:
            late = await read_late(self._keys, stored)
            if late is None or await self._duties.erase_again(late.server, late.until_ns):
                await self._board.erase(stored.revision)
        # A failure before this point leaves an empty book, so that the next step does all again.
        self._book = book
        kept = dict(list(cleared.items())[-_CLEARED_KEPT:])
        me = replace(self._me, upto=book.upto, cleared=kept)
        is_due = time.monotonic() - self._stated > HEARTBEAT_S
        if me != self._me or is_due:
            self._me = me
            await self._state(me)
            self._stated = time.monotonic()
        if is_due:
            await self._keeper.look()

    async def _state(self, me: Participant) -> None:
        await self._board.put(f"{_AT}.{me.name}", me.written())
