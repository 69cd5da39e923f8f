"""The contract of a target: the place where entries of the outbox end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

from collector.outbox import Pending

Packed = TypeVar("Packed")


class Blocked(Exception):
    """A target takes nothing now. `reason` is one word for the metric, the text the target's words.

    `retry_after` is the number of seconds after which the target asks to be tried again, if it
    said one. `sent` is false where it is certain that nothing reached the target.
    """

    def __init__(
        self, reason: str, words: str, retry_after: float | None = None, *, sent: bool = True
    ) -> None:
        super().__init__(words)
        self.reason = reason
        self.retry_after = retry_after
        self.sent = sent


class Dead(NamedTuple):
    """A line that a target refuses for good, the entry that it is from, and the target's words."""

    entry: Pending
    line: bytes
    reason: str


class Target(Protocol[Packed]):
    """A place that stores entries. Storing an entry again stores it once.

    `prepare`, `pack` and `store` are called in turn, and `pack` of the next batch while `store` of
    the one before is under way.
    """

    async def prepare(self) -> None:
        """Make what must be there before anything can be stored, and see that the target answers.

        Raises Blocked.
        """
        ...

    async def pack(self, entries: Sequence[Pending]) -> Packed:
        """The form in which entries are sent: what takes time is done here."""
        ...

    async def store(self, packed: Packed) -> Sequence[Dead]:
        """Store packed entries, but for the lines that are returned. Raises Blocked."""
        ...
