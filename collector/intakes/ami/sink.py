"""Interface of the receiver of an Asterisk's events and answers."""

from __future__ import annotations

from collections.abc import Sequence

from collector.intakes.ami.message import Message


class Sink:
    """Receiver of events and answers; its methods are called in the order of the stream.

    This one ignores all of them.
    """

    @property
    def stale(self) -> frozenset[str]:
        """Questions about the state that should be asked again soon."""
        return frozenset()

    def event(self, message: Message) -> None:
        """Handle a wanted event."""

    def answer(self, action: str, answer: Message, items: Sequence[Message]) -> None:
        """Handle the complete answer to a question; `items` may be empty."""

    def asked(self) -> None:
        """All questions asked so far have been answered, apart from unanswerable ones."""

    def lost(self) -> None:
        """The connection has ended: events until the next login are not seen."""
