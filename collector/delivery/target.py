"""The protocol of a delivery target, a store to which the outbox's entries are sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from collector.metrics import Metrics
from collector.outbox import Pending, Queue

Packed = TypeVar("Packed")


class Blocked(Exception):
    """The target accepts nothing now. `reason` is one word for the metric, `words` its error text.

    `retry_after` is the time in s that the target asked to wait, if any. `sent` is false only if
    nothing can have reached the target.
    """

    def __init__(
        self, reason: str, words: str, retry_after: float | None = None, *, sent: bool = True
    ) -> None:
        super().__init__(words)
        self.reason = reason
        self.retry_after = retry_after
        self.sent = sent


class Dead(NamedTuple):
    """A line that a target refuses for good, the line's entry, and the target's error text."""

    entry: Pending
    line: bytes
    reason: str


class Target(Protocol[Packed]):
    """A store of entries. Storing is idempotent: an entry sent twice is stored once.

    The loop calls `prepare`, `pack` and `store` in turn, and may call `pack` for the next batch
    while `store` of the one before runs.
    """

    async def prepare(self) -> None:
        """Create what storing needs, such as databases, and check that the target answers.

        Raises Blocked.
        """
        ...

    async def pack(self, entries: Sequence[Pending]) -> Packed:
        """Return the entries in the form in which they are sent. Slow work belongs here."""
        ...

    async def store(self, packed: Packed) -> Sequence[Dead]:
        """Store packed entries; return the lines refused for good. Raises Blocked."""
        ...


class TargetsOf(Protocol):
    """A function that creates the targets of an outbox."""

    def __call__(self, metrics: Metrics, *, records: bool) -> dict[Queue, Target[Any]]:
        """Return the target of each queue; that of the records store only if it is wanted."""
        ...
