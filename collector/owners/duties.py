"""Duties of a receiver: it carries out the orders of other processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field

from collector.jetstream.duties import Duties, FindOrder
from collector.memory import Choice, Notice
from collector.orders import Cleared, ErasureOrder
from collector.owners.choices import Choices
from collector.owners.clearing import clear
from collector.owners.parts import Parts
from collector.owners.requests import Erasures
from collector.privacy import ServerPseudonym
from collector.setting_types import oldest_kept


@dataclass(eq=False)
class ReceiverDuties(Duties):
    """Carries out orders in the state directory of a receiver; see `Duties`.

    Orders are remembered for `keep_seconds` (0: for ever), so that the recovery of a damaged outbox
    leaves out what is erased. `noticed` is called if InfluxDB has a new notice.
    """

    parts: Parts
    choices: Choices
    erasures: Erasures
    noticed: Callable[[], None]
    _: KW_ONLY
    keep_seconds: int
    _is_first: bool = field(default=True, init=False)

    async def erase(
        self, orders: Sequence[ErasureOrder], find: FindOrder
    ) -> Mapping[ErasureOrder, Cleared]:
        """Delete the rows of servers that have an order from all outboxes; return the counts.

        Raises StoreUnavailable, OSError.
        """
        await asyncio.to_thread(
            self.parts.memory.erasures.remember_erased,
            [Notice(one.mark, one.until_ns, "") for one in orders],
            oldest_ns=oldest_kept(self.keep_seconds),
        )
        found: list[ServerPseudonym] = []

        def noting(server: ServerPseudonym) -> ErasureOrder | None:
            order = find(server)
            if order is not None:
                found.append(server)
            return order

        done = await clear(self.parts.outboxes, self.parts.writing, noting)
        for server in found:
            await asyncio.to_thread(self.parts.memory.tags.forget_server, server)
        return done

    async def choose(self, choices: Sequence[Choice]) -> None:
        """Let choices apply to the next report, and erase what was taken since an opt-out.

        Raises StoreUnavailable.
        """
        news = [one for one in choices if await self.choices.learn(one) and one.out]
        if not news and not self._is_first:
            return
        for server in await asyncio.to_thread(self.parts.outboxes.servers):
            if self.choices.opted_out(server):
                await self.erasures.follow(server, until_ns=time.time_ns())
        self._is_first = False

    async def erase_again(self, server: ServerPseudonym, until_ns: int) -> bool:
        """Request the erasure of a server's reports up to a time. Raises MemoryUnavailable."""
        await self.erasures.follow(server, until_ns=until_ns)
        return True

    async def notice(self) -> None:
        """Have the notices in InfluxDB read now."""
        self.noticed()
