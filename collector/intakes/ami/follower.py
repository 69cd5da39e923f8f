"""Follower of one Asterisk: its client, its state, and the flushes of the state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from collector.asterisks import AmiAccount, Asterisk
from collector.intakes.ami.client import Client, Pauses
from collector.intakes.ami.connection import Times
from collector.intakes.ami.message import Message
from collector.intakes.ami.seen import Seen
from collector.intakes.ami.sink import Sink
from collector.intakes.ami.state.state import State
from collector.intakes.ami.state.wanted import WANTED
from collector.intakes.live import TrueState
from collector.lines import Point

UNWANTED: Final = "other"
"""Label of all events that are not read."""


class Follower(Sink):
    """Follows one Asterisk. `now_ns` is a monotonic clock in ns since 1970, for all times."""

    def __init__(
        self,
        asterisk: Asterisk,
        account: AmiAccount,
        state: State,
        true_state: TrueState,
        now_ns: Callable[[], int],
        *,
        times: Times | None = None,
        pauses: Pauses | None = None,
    ) -> None:
        self.asterisk = asterisk
        self._state, self._true_state, self._now_ns = state, true_state, now_ns
        self.client = Client(asterisk.name, account, self, WANTED, times=times, pauses=pauses)

    @property
    def stale(self) -> frozenset[str]:
        """Questions about the state that should be asked again soon."""
        return self._state.stale

    def event(self, message: Message) -> None:
        """Handle an event."""
        self._state.take(message, self._now_ns())

    def answer(self, action: str, answer: Message, items: Sequence[Message]) -> None:
        """Handle a complete answer."""
        self._state.answer(action, answer, items, self._now_ns())

    def asked(self) -> None:
        """Pass the true values of gauges to StatsD, now that the present state is known."""
        self._state.asked(self._now_ns())
        self._true_state.truth(self.asterisk.name, self._state.truth())

    def lost(self) -> None:
        """Record the start of a gap."""
        self._state.lost(self._now_ns())

    def flush(self, at_ns: int) -> tuple[list[Point], Seen]:
        """Points since the last flush, at the time `at_ns`, and the client's counts since then."""
        seen = self.client.seen.take()
        self._state.drops.update(seen.drops)
        points = [replace(point, time=at_ns) for point in self._state.flush(self._now_ns())]
        # The parts of the state count in the same object.
        seen.drops = Counter(self._state.drops)
        self._state.drops.clear()
        return points, seen
