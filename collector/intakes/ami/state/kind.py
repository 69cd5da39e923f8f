"""Things of one kind, each in one state: how many are in which. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from typing import Final

from collector.intakes.ami.state.times import Knowledge
from collector.schema import ALL, OTHER

MOST_DEVICES: Final = 20_000
"""Most devices of one kind held."""

Key = tuple[str, ...]


class Kind:
    """Things of one kind, each in one state of `states`; a state that is none of them is `other`.

    `other` must be one of `states`, or things in other states are not counted.
    """

    def __init__(self, states: Iterable[str], drops: Counter[str], drop: str) -> None:
        self._states = tuple(states)
        self._drops = drops
        self._drop = drop
        self._things: dict[Key, str] = {}
        self.knowledge = Knowledge()

    def set(self, key: Key, state: str) -> None:
        """A thing is in a state."""
        if key not in self._things and len(self._things) >= MOST_DEVICES:
            self._drops[self._drop] += 1
            return
        self._things[key] = state if state in self._states else OTHER

    def get(self, key: Key) -> str | None:
        """The state of a thing, if it is known."""
        return self._things.get(key)

    def remove(self, key: Key) -> None:
        """A thing is there no more."""
        self._things.pop(key, None)

    def replace(self, things: Iterable[tuple[Key, str]]) -> None:
        """These are all there are."""
        self._things.clear()
        for key, state in things:
            self.set(key, state)
        self.knowledge.complete()

    def keep(self, keys: Set[Key]) -> None:
        """Others than these are not known any more."""
        self._things = {key: state for key, state in self._things.items() if key in keys}

    def counts(self) -> dict[str, int]:
        """How many are in each state, zeros included; `all` for all."""
        counted = Counter(self._things.values())
        counted[ALL] = len(self._things)
        return {state: counted[state] for state in self._states}
