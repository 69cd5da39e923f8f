"""Deletes rows of servers from the outboxes of a state directory, on orders of other processes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

import structlog

from collector.jetstream.duties import FindOrder
from collector.orders import Cleared, ErasureOrder
from collector.outbox import Outboxes
from collector.outbox.delivering import DeliveryLock
from collector.owners.erasure_records import OutboxCounts, up_to
from collector.owners.holdings import Place
from collector.privacy import ServerPseudonym

log = structlog.get_logger("collector.owners")


async def clear(
    outboxes: Outboxes, lock: DeliveryLock, find: FindOrder
) -> Mapping[ErasureOrder, Cleared]:
    """Delete the rows of servers that have an order; return the counts of each order.

    `lock` is the delivery lock of the outboxes. Raises OutboxUnavailable, OSError.
    """
    done = {}
    for server, oldest in (await asyncio.to_thread(outboxes.servers)).items():
        order = find(server)
        if order is not None and oldest <= order.until_ns:
            done[order] = await _clear(outboxes, lock, server, order.until_ns)
    return done


async def _clear(
    outboxes: Outboxes, lock: DeliveryLock, server: ServerPseudonym, until_ns: int
) -> Cleared:
    counts = OutboxCounts(Counter(), {})
    async with lock.alone():
        held = await asyncio.to_thread(outboxes.held, server)
        held = {name: up_to(found, until_ns) for name, found in held.items()}
        for name, rows in held.items():
            counts.add(name, rows)
        await asyncio.to_thread(outboxes.erase, server, held)
    if not await asyncio.to_thread(outboxes.scrub, server.encode()):
        log.warning("files hold remains of erased rows until their pages are used again")
    said = counts.counts
    return Cleared(said[Place.WAITING], said[Place.DELIVERED], said[Place.DEAD])
