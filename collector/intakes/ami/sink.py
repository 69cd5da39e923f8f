"""Interface of what receives an Asterisk's events and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from collector.intakes.ami.message import Message


class Sink(Protocol):
    """Receiver of what an Asterisk says; its methods are called in the order of the stream."""

    @property
    def stale(self) -> frozenset[str]:
        """Questions about the state that should be asked again soon."""
        ...

    def event(self, message: Message) -> None:
        """Take an event that is wanted."""
        ...

    def answer(self, action: str, answer: Message, items: Sequence[Message]) -> None:
        """Take a whole answer to a question; there are no items where Asterisk has none."""
        ...

    def asked(self) -> None:
        """All questions that were asked are answered; after a login, all that can be."""
        ...

    def lost(self) -> None:
        """The connection has ended: what happens until the next login is not seen."""
        ...
