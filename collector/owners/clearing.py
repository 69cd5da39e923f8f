"""Deletes rows of servers from the outboxes of a state directory, on orders of other processes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

import structlog

from collector.orders import Cleared, ErasureOrder
from collector.outbox import Outboxes
from collector.outbox.delivering import DeliveryLock
from collector.owners.erasure_records import OutboxCounts, up_to
from collector.owners.holdings import Place
from collector.privacy import ServerPseudonym

log = structlog.get_logger("collector.owners")


class Clearing:
    """Carries out erasure orders in outboxes; `lock` is their delivery lock."""

    def __init__(self, outboxes: Outboxes, lock: DeliveryLock) -> None:
        self._outboxes = outboxes
        self._lock = lock

    async def erase(
        self, find: Callable[[ServerPseudonym], ErasureOrder | None]
    ) -> Mapping[ErasureOrder, Cleared]:
        """Delete the rows of servers that have an order; return the counts of each order.

        Raises OutboxUnavailable, OSError.
        """
        done = {}
        for server, oldest in (await asyncio.to_thread(self._outboxes.servers)).items():
            order = find(server)
            if order is not None and oldest <= order.until_ns:
                done[order] = await self._clear(server, order.until_ns)
        return done

    async def _clear(self, server: ServerPseudonym, until_ns: int) -> Cleared:
        counts = OutboxCounts(Counter(), {})
        async with self._lock.alone():
            held = await asyncio.to_thread(self._outboxes.held, server)
            held = {name: up_to(found, until_ns) for name, found in held.items()}
            for name, rows in held.items():
                counts.add(name, rows)
            await asyncio.to_thread(self._outboxes.erase, server, held)
        if not await asyncio.to_thread(self._outboxes.scrub, server.encode()):
            log.warning("files hold remains of erased rows until their pages are used again")
        said = counts.counts
        return Cleared(said[Place.WAITING], said[Place.DELIVERED], said[Place.DEAD])
