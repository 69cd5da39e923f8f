"""A process's view of the orders on the board, and the giving of orders."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import structlog

from collector.jetstream.board import Board, Conflict, Stored
from collector.jetstream.sealing import Keys, seal
from collector.memory import Choice
from collector.orders import (
    SALT_LENGTH,
    ErasureOrder,
    Quarantined,
    QuarantineOrder,
    Tombstones,
    digest_of,
)
from collector.privacy import OwnerMark, ServerPseudonym

log = structlog.get_logger("collector.jetstream")

ORDERS: Final = "do"
"""First word of the keys of all orders."""
_ERASURE: Final = "do.erase"
_CHOICE: Final = "do.choice"
NOTICE: Final = "do.notice.last"
"""Key that is stored again when InfluxDB has a new notice of an erasure."""
_LATE: Final = "do.late"
_QUARANTINE: Final = "do.quarantine"
_MOST_DIGESTS: Final = 10_000
"""Most servers in one order, whose message is then smaller than NATS's limit of 1 MB."""
_SALT: Final = "salt"


class News(NamedTuple):
    """Orders that a process has not read before.

    `has_notice` tells that InfluxDB has a notice of an erasure that is done. `late` are reports of
    writers that stored what an order erases; see `LateReport`.
    """

    erasures: Sequence[ErasureOrder]
    choices: Sequence[Choice]
    has_notice: bool
    late: Sequence[Stored]
    quarantines: Mapping[str, QuarantineOrder]


class LateReport(NamedTuple):
    """A writer's statement that it stored reports of a server after an order had erased them.

    It had stood still between its look at the orders and the end of a write. A receiver has to
    erase what is received up to `until_ns` again.
    """

    server: ServerPseudonym
    until_ns: int


class Book:
    """The orders as one process has read them; `upto` is the revision of the newest."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._generation = -1
        self._tombstones = Tombstones(b"")
        self._quarantined = Quarantined(b"")
        self.salt = b""
        self.upto = 0

    async def refresh(self) -> News:
        """Read the orders since the last call, or all after a reconnect. Raises NatsUnavailable."""
        await self._board.opened()
        if self._board.generation != self._generation:
            generation = self._board.generation
            self.salt = await salt_of(self._board)
            self._tombstones = Tombstones(self.salt)
            self._quarantined = Quarantined(self.salt)
            self.upto = 0
            self._generation = generation
        found = await self._board.after(ORDERS, self.upto)
        news = _read(found)
        self._tombstones.take(news.erasures)
        self._quarantined.take(news.quarantines)
        if found:
            self.upto = found[-1].revision
        return news

    def erased(self, server: ServerPseudonym | None, received_ns: int) -> bool:
        """Return whether a report is erased by an order, so that no hop may pass it on."""
        return self._tombstones.covers(server, received_ns)

    def batch_of(self, server: ServerPseudonym | None, at_ns: int) -> int | None:
        """Return the number of the batch in quarantine that a report belongs to, if any."""
        return self._quarantined.batch_of(server, at_ns)


async def salt_of(board: Board) -> bytes:
    """Return the key of the digests, which is made if it is missing. Raises NatsUnavailable."""
    while True:
        found = await board.last(_SALT)
        if found is not None and len(found.value) == SALT_LENGTH:
            return found.value
        salt = os.urandom(SALT_LENGTH)
        # In a conflict another process has made it.
        with suppress(Conflict):
            await board.put(_SALT, salt, last=found.revision if found is not None else 0)
            return salt


async def order_erasure(board: Board, order: ErasureOrder) -> int:
    """Give or widen the order for a server; return its revision. Raises NatsUnavailable."""
    key = f"{_ERASURE}.{order.digest}"
    while True:
        found = await board.last(key)
        written = order.after(None if found is None else _erasure(found)).written()
        with suppress(Conflict):
            return await board.put(key, written, last=found.revision if found is not None else 0)


async def order_quarantine(
    board: Board, batch: int, span: tuple[int, int], servers: Sequence[ServerPseudonym]
) -> int:
    """Order that reports of servers in a span of time (ns) are marked when they are stored.

    Takes the place of earlier orders for the batch; none is marked any more without `servers`.
    Returns the revision. Raises NatsUnavailable.
    """
    salt = await salt_of(board)
    digests = [digest_of(server, salt) for server in servers]
    parts = [digests[n : n + _MOST_DIGESTS] for n in range(0, len(digests), _MOST_DIGESTS)]
    known = len(await board.after(f"{_QUARANTINE}.{batch}", 0))
    parts += [[]] * (known - len(parts))
    revision = 0
    for number, part in enumerate(parts):
        order = QuarantineOrder(batch, *span, tuple(part))
        revision = await board.put(f"{_QUARANTINE}.{batch}.{number}", order.written())
    return revision


async def tell_choice(board: Board, choice: Choice) -> None:
    """Make an owner's choice known, unless a later one is. Raises NatsUnavailable."""
    key = f"{_CHOICE}.{choice.owner}"
    while True:
        found = await board.last(key)
        earlier = _choice(found) if found is not None else None
        if earlier is not None and earlier.at_ns >= choice.at_ns:
            return
        said = json.dumps({"out": choice.out, "at_ns": choice.at_ns}).encode()
        with suppress(Conflict):
            await board.put(key, said, last=found.revision if found is not None else 0)
            return


async def tell_late(board: Board, keys: Keys, salt: bytes, report: LateReport) -> None:
    """Tell the receivers what has to be erased again. Raises NatsUnavailable."""
    body = f"{report.server} {report.until_ns}".encode()
    key = f"{_LATE}.{digest_of(report.server, salt)}"
    await board.put(key, seal(await keys.newest(), body))


async def read_late(keys: Keys, stored: Stored) -> LateReport | None:
    """Return what a writer told; None if it cannot be read. Raises NatsUnavailable."""
    try:
        server, until = (await keys.opened(stored.value)).decode().split()
        return LateReport(ServerPseudonym(server), int(until))
    except ValueError as error:
        log.error("a writer's report in NATS cannot be read", why=str(error))
        return None


def _read(found: Sequence[Stored]) -> News:
    erasures = [one for each in found if (one := _erasure(each)) is not None]
    choices = [choice for each in found if (choice := _choice(each)) is not None]
    late = [each for each in found if each.key.startswith(f"{_LATE}.")]
    quarantines = {each.key: order for each in found if (order := _quarantine(each)) is not None}
    has_notice = any(each.key == NOTICE for each in found)
    return News(erasures, choices, has_notice, late, quarantines)


def _erasure(stored: Stored) -> ErasureOrder | None:
    kind, _, digest = stored.key.rpartition(".")
    if kind != _ERASURE:
        return None
    try:
        return ErasureOrder.read(digest, stored.value)
    except (ValueError, KeyError, TypeError) as error:
        log.error("an order in NATS cannot be read", key=kind, why=str(error))
        return None


def _quarantine(stored: Stored) -> QuarantineOrder | None:
    if not stored.key.startswith(f"{_QUARANTINE}."):
        return None
    try:
        return QuarantineOrder.read(stored.value)
    except (ValueError, KeyError, TypeError) as error:
        log.error("a quarantine in NATS cannot be read", key=stored.key, why=str(error))
        return None


def _choice(stored: Stored) -> Choice | None:
    kind, _, mark = stored.key.rpartition(".")
    if kind != _CHOICE:
        return None
    try:
        said = json.loads(stored.value)
        return Choice(OwnerMark(mark), bool(said["out"]), int(said["at_ns"]))
    except (ValueError, KeyError, TypeError) as error:
        log.error("a choice in NATS cannot be read", key=kind, why=str(error))
        return None
