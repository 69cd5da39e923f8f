"""Duties of a participant: the work by which it carries out orders. Needs no NATS library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from collector.memory import Choice
from collector.orders import Cleared, ErasureOrder
from collector.privacy import ServerPseudonym

FindOrder = Callable[[ServerPseudonym], ErasureOrder | None]
"""Finds the order by which a server's reports are erased."""


class Duties:
    """The work of a participant, each call of which is safe to repeat; here there is none to do.

    Every method raises StoreUnavailable, InfluxError, NotHeld, OSError or OrdersUnavailable: then
    it is called again.
    """

    async def erase(
        self, _orders: Sequence[ErasureOrder], _find: FindOrder
    ) -> Mapping[ErasureOrder, Cleared]:
        """Delete the rows of all servers that have one of the orders; return the counts."""
        return {}

    async def choose(self, _choices: Sequence[Choice]) -> None:
        """Let owners' choices apply here."""

    async def notice(self) -> None:
        """Carry out the notices that are in InfluxDB."""

    async def settle(self) -> None:
        """Wait until all storing that began before this call has ended."""

    async def erase_again(self, _server: ServerPseudonym, _until_ns: int) -> bool:
        """Have reports that a writer stored too late erased; return whether that is done here."""
        return False
