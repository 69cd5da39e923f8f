"""Erasure in what is not of this state directory: other processes' files, and the stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from collector.memory import Choice
from collector.orders import Elsewhere
from collector.privacy import OwnerMark, ServerPseudonym


class Hops(Protocol):
    """Everything between this collector's outboxes and InfluxDB, and the other participants.

    Each method is safe to repeat, and raises OrdersUnavailable.
    """

    async def erase(
        self, server: ServerPseudonym, mark: OwnerMark, *, until_ns: int, asked_ns: int
    ) -> Elsewhere | None:
        """Erase a server's reports up to a time (ns); None if there is nothing elsewhere."""
        ...

    async def sweep(self, server: ServerPseudonym, *, until_ns: int) -> int:
        """Delete a server's reports up to a time from the stream alone; return how many."""
        ...

    async def tell(self, choice: Choice) -> None:
        """Make an owner's choice known to all receivers."""
        ...

    async def notice(self) -> None:
        """Make known that InfluxDB has a new notice of an erasure."""
        ...

    async def quarantine(
        self, batch: int, span: tuple[int, int], servers: Sequence[ServerPseudonym]
    ) -> None:
        """Have reports of servers in a span (ns) marked that are not stored yet.

        Without `servers`, no report is marked for the batch any more.
        """
        ...


class NoHops:
    """A collector without NATS: nothing lies between its outboxes and InfluxDB."""

    async def erase(
        self, server: ServerPseudonym, mark: OwnerMark, *, until_ns: int, asked_ns: int
    ) -> Elsewhere | None:
        """Return None."""

    async def sweep(self, server: ServerPseudonym, *, until_ns: int) -> int:
        """Return 0."""
        return 0

    async def tell(self, choice: Choice) -> None:
        """Do nothing: other collectors read choices from InfluxDB."""

    async def notice(self) -> None:
        """Do nothing: other collectors read notices from InfluxDB."""

    async def quarantine(
        self, batch: int, span: tuple[int, int], servers: Sequence[ServerPseudonym]
    ) -> None:
        """Do nothing: nothing marks reports on their way."""
