"""Erasure in what is not of this state directory: other processes' files, and the stream.

Needs no NATS library.
"""

from __future__ import annotations

from collections.abc import Sequence

from collector.memory import Choice
from collector.orders import Elsewhere
from collector.privacy import OwnerMark, ServerPseudonym


class Hops:
    """Everything between this collector's outboxes and InfluxDB, and the other participants.

    This base does nothing: without NATS, nothing lies between, and other collectors read choices
    and notices from InfluxDB. Each method is safe to repeat, and raises OrdersUnavailable.
    """

    async def erase(
        self, _server: ServerPseudonym, _mark: OwnerMark, *, until_ns: int, asked_ns: int
    ) -> Elsewhere | None:
        """Erase a server's reports up to a time (ns); None if there is nothing elsewhere."""

    async def sweep(self, _server: ServerPseudonym, *, until_ns: int) -> int:
        """Delete a server's reports up to a time from the stream alone; return how many."""
        return 0

    async def tell(self, _choice: Choice) -> None:
        """Make an owner's choice known to all receivers."""

    async def notice(self) -> None:
        """Make known that InfluxDB has a new notice of an erasure."""

    async def quarantine(
        self, _batch: int, _span: tuple[int, int], _servers: Sequence[ServerPseudonym]
    ) -> None:
        """Have reports of servers in a span (ns) marked that are not stored yet.

        Without `servers`, no report is marked for the batch any more.
        """
