"""Things of one kind, counted by state. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from typing import Final

from collector.intakes.ami.state.times import Knowledge
from collector.schema import ALL, OTHER

MOST_DEVICES: Final = 20_000
"""Most devices of one kind in memory."""

Key = tuple[str, ...]


class Kind:
    """Things of one kind, each in one of `states`.

    Any other state counts as `other` if `states` has that, else it has no count of its own.
    """

    def __init__(self, states: Iterable[str], drops: Counter[str], drop: str) -> None:
        self._states = tuple(states)
        self._drops = drops
        self._drop = drop
        self._things: dict[Key, str] = {}
        self.knowledge = Knowledge()

    def set(self, key: Key, state: str) -> None:
        """Set the state of a thing."""
        if key not in self._things and len(self._things) >= MOST_DEVICES:
            self._drops[self._drop] += 1
            return
        self._things[key] = state if state in self._states else OTHER

    def get(self, key: Key) -> str | None:
        """State of a thing; None if it is unknown."""
        return self._things.get(key)

    def remove(self, key: Key) -> None:
        """Remove a thing."""
        self._things.pop(key, None)

    def replace(self, things: Iterable[tuple[Key, str]]) -> None:
        """Replace all things."""
        self._things.clear()
        for key, state in things:
            self.set(key, state)
        self.knowledge.complete()

    def keep(self, keys: Set[Key]) -> None:
        """Remove all things but these."""
        self._things = {key: state for key, state in self._things.items() if key in keys}

    def counts(self) -> dict[str, int]:
        """Number of things in each state, zeros included, and in `all` states."""
        counted = Counter(self._things.values())
        counted[ALL] = len(self._things)
        return {state: counted[state] for state in self._states}
