"""A lease on a key of a store with compare-and-set, held by one process at a time. Pure.

The store gives each stored value a revision, and stores a value only if the revision is still the
one that the writer knows. Its clock is not used, nor are the clocks of processes compared:

- The holder stores its name again and again. Its lease ends `ttl_s` after it sent the last value
  that the store confirmed, and it stops working `margin_s` before that.
- Another process takes the lease once it has seen the same revision for `ttl_s` after its first
  look at it. The holder's last value was stored before that look, so its lease has ended.

Times are in s, from a clock of the process that is never set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Terms:
    """Times of a lease: how long it lasts after the last renewal, and the interval of looks."""

    ttl_s: float
    look_s: float

    @property
    def margin_s(self) -> float:
        """The holder stops this long before its lease ends: for a clock or a write that is slow."""
        return self.ttl_s / 4

    @property
    def renew_s(self) -> float:
        """The interval of renewals."""
        return self.ttl_s / 6


class Entry(NamedTuple):
    """A stored value: its revision, and the holder's name, which is empty if the lease is free."""

    revision: int
    holder: str


@dataclass(frozen=True, slots=True)
class Read:
    """Next step: read the entry."""


@dataclass(frozen=True, slots=True)
class Put:
    """Next step: store the own name if the revision is still `last` (0: there is no entry)."""

    last: int


@dataclass(frozen=True, slots=True)
class Rest:
    """Next step: do nothing until a time."""

    until: float


class Lease:
    """One process's view of a lease. `me` is the process's name, which no other process has.

    The caller does each `step`, and reports its result with `found`, `stored`, `refused` or
    `failed`.
    """

    def __init__(self, me: str, terms: Terms) -> None:
        self._me = me
        self._terms = terms
        self._entry: Entry | None = None
        self._known = False
        self._seen: float | None = None
        self._looked = -math.inf
        self._retry = -math.inf
        self._renewed = -math.inf
        self._until = -math.inf

    @property
    def holder(self) -> str:
        """The name of the holder as last seen; empty if there was none."""
        return self._entry.holder if self._entry is not None else ""

    def holds(self, now: float) -> bool:
        """Whether this process may work now."""
        return now < self.ends

    @property
    def ends(self) -> float:
        """The time from which this process may not work, unless it renews the lease before."""
        return self._until - self._terms.margin_s

    def step(self, now: float) -> Read | Put | Rest:
        """The next step to take or keep the lease."""
        if not self._known:
            return Read() if now >= self._retry else Rest(self._retry)
        last = self._entry.revision if self._entry is not None else 0
        if now < self._until:
            due = self._renewed + self._terms.renew_s
        elif self._entry is not None and not self._entry.holder:
            due = now
        else:
            due = (now if self._seen is None else self._seen) + self._terms.ttl_s
            look = self._looked + self._terms.look_s
            if now < due:
                return Read() if now >= look else Rest(min(look, due))
        return Put(last) if now >= due else Rest(due)

    def found(self, entry: Entry | None, now: float) -> None:
        """The entry was read; `now` is after the read."""
        if self._seen is None or entry != self._entry:
            self._seen = now
            # Of a renewal whose outcome was unknown: the next one confirms it.
            self._renewed = -math.inf
        if entry is None or entry.holder != self._me:
            self._until = -math.inf
        self._entry, self._known, self._looked = entry, True, now

    def stored(self, revision: int, sent: float) -> None:
        """The own name was stored; `sent` is from before it was sent."""
        self._entry, self._known, self._seen = Entry(revision, self._me), True, sent
        self._renewed, self._until = sent, sent + self._terms.ttl_s

    def refused(self) -> None:
        """The revision was another one: the lease is lost, or was not won."""
        self._known, self._until = False, -math.inf

    def failed(self, now: float) -> None:
        """The outcome of a step is unknown.

        What was seen before counts no more: a store that comes back may have lost its last values.
        """
        self._known, self._seen, self._retry = False, None, now + self._terms.look_s

    def give_up(self) -> int | None:
        """Stop working; return the revision to be replaced by a free entry, or None if unknown."""
        self._until = -math.inf
        known, self._known = self._known, False
        mine = self._entry is not None and self._entry.holder == self._me
        return self._entry.revision if known and mine and self._entry is not None else None
