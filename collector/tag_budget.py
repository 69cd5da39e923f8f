"""Bounds how many values each tag holds, and decides which ones. Pure.

The rule: docs/security.md, "Budgets of tags"; its reasons: docs/decisions/0073-tag-budgets.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from collector.schema import OTHER, UNKNOWN


@dataclass(frozen=True, slots=True)
class Sighting:
    """A server (pseudonym) said a value of a tag that is not firm, on a UTC day."""

    tag: str
    value: str
    server: str
    day: int


@dataclass(frozen=True, slots=True)
class TagValue:
    """A value that a tag holds, and the last UTC day (days since 1970) on which it was seen.

    It is `firm` once `SAYERS` servers have said it within `SAYERS_DAYS`.
    """

    tag: str
    value: str
    day: int
    firm: bool = False


@dataclass(frozen=True, slots=True)
class Freed:
    """A value that a tag holds no more."""

    tag: str
    value: str


Change = TagValue | Sighting | Freed
News = list[Change]
"""Changes of a budget, in order: all that a later run must know."""

SAYERS: Final = 5
"""Different servers that make a value firm."""
SAYERS_DAYS: Final = 7
"""Days within which they must say it, and for which an open value that nobody says is held."""
ALONE: Final = 5
"""Open values of a tag that one server alone may say."""
_MOST_SIGHTINGS: Final = 20_000


def sayers_needed(held: int, budget: int) -> int | None:
    """How many different servers must say a new value of a tag that holds `held` values already.

    One while less than half of the budget is spent; then 5, and twice as many with every further
    tenth of the budget. None where the budget is spent.
    """
    if held >= budget:
        return None
    if 2 * held < budget:
        return 1
    return SAYERS << (10 * held // budget - 5)


class TagBudget:
    """Bounds how many distinct values each tag holds, so that InfluxDB's series stay bounded.

    `budgets` gives each tag's number; `unknown` and `other` cost nothing. A new value needs more
    and more different servers that say it within `SAYERS_DAYS` (`sayers_needed`), or takes the
    place of an open one that fewer say; until then it is `other`. A firm value is held for
    `memory_days` after it was last seen. An open one leaves after `SAYERS_DAYS` once half of the
    budget is spent. `seen` are the values of earlier runs, `sayers` how many servers said each
    value that is not firm.
    """

    def __init__(
        self,
        budgets: Mapping[str, int],
        *,
        memory_days: int,
        seen: Iterable[TagValue] = (),
        sayers: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        self._budgets = dict(budgets)
        self._memory_days = memory_days
        self._days: dict[str, dict[str, int]] = {tag: {} for tag in budgets}
        self._firm: dict[str, set[str]] = {tag: set() for tag in budgets}
        self._said: dict[tuple[str, str], dict[str, int]] = {}
        self._sightings = 0
        self._before: dict[tuple[str, str], int] = {}
        self._swept = dict.fromkeys(budgets, -1)
        self.version = 0
        """Rises when what was given for a value may be something else now."""
        self.replace(seen, sayers or {})

    def held(self, tag: str) -> int:
        """How many values a tag holds now."""
        return len(self._days[tag])

    def is_firm(self, tag: str, value: str) -> bool:
        """Whether no more servers need to be counted that say a value."""
        return value in self._firm[tag] or value in (UNKNOWN, OTHER)

    def replace(
        self,
        seen: Iterable[TagValue],
        sayers: Mapping[tuple[str, str], int],
        news: Iterable[Change] = (),
    ) -> None:
        """Hold these values and no others, with what is news since they were read.

        Some were given back, or admitted by another process. Who said a value that is not among
        `sayers` any more is forgotten.
        """
        before = self._days
        self._days = {tag: {} for tag in self._budgets}
        self._firm = {tag: set() for tag in self._budgets}
        fresh = set()
        for item in (*seen, *news):
            if item.tag not in self._days:
                continue
            match item:
                case TagValue(tag, value, day, firm):
                    self._days[tag][value] = day
                    if firm:
                        self._firm[tag].add(value)
                case Freed(tag, value):
                    self._release(tag, value)
                case Sighting(tag, value):
                    fresh.add((tag, value))
        if any(before[tag].keys() != days.keys() for tag, days in self._days.items()):
            self.version += 1
        self._before = dict(sayers)
        for gone in [one for one in self._said if one not in sayers and one not in fresh]:
            self._sightings -= len(self._said.pop(gone))

    def admit(self, tag: str, value: str, server: str, day: int, news: News) -> str:
        """The value to store when `server` says one: the one given, or `other`.

        Appends to `news` what a later run must know: the first sight of a value on a day, who said
        one that is not firm, and which lost its place.
        """
        days, firm = self._days[tag], value in self._firm[tag]
        last = days.get(value)
        if (firm and last == day) or value in (UNKNOWN, OTHER):
            return value
        said = SAYERS if firm else self._count(tag, value, server, day, news)
        if last is None:
            if not self._has_room(tag, value, server, day, news):
                return OTHER
            if said > 1:
                # It was `other` until now.
                self.version += 1
        becomes_firm = not firm and said >= SAYERS
        if becomes_firm:
            self._firm[tag].add(value)
            self._sightings -= len(self._said.pop((tag, value), ()))
            self._before.pop((tag, value), None)
        if last is None or last < day or becomes_firm:
            # A clock that was set back makes no value older.
            days[value] = day if last is None else max(day, last)
            news.append(TagValue(tag, value, days[value], firm or becomes_firm))
        return value

    def _has_room(self, tag: str, value: str, server: str, day: int, news: News) -> bool:
        """Whether a new value gets a place; one that fewer servers say may lose its own for it."""
        days, budget = self._days[tag], self._budgets[tag]
        if 2 * len(days) >= budget and self._swept[tag] != day:
            self._swept[tag] = day
            self._sweep(tag, day, news)
        said = self._sayers(tag, value, day)
        needed = sayers_needed(len(days), budget)
        if needed == 1:
            return said > 1 or self._alone(tag, server, day) < ALONE
        if needed is not None and said >= needed:
            return True
        if said == 1:
            return False
        others = {v: self._sayers(tag, v, day) for v in days if v not in self._firm[tag]}
        if not others:
            return False
        weakest = min(others, key=lambda v: (others[v], days[v], v))
        if others[weakest] >= said:
            return False
        self._free(tag, weakest, news)
        return True

    def _sweep(self, tag: str, day: int, news: News) -> None:
        for value, last in list(self._days[tag].items()):
            held_for = self._memory_days
            if value not in self._firm[tag]:
                held_for = min(held_for, SAYERS_DAYS)
            if day - last > held_for:
                self._free(tag, value, news)

    def _free(self, tag: str, value: str, news: News) -> None:
        self._release(tag, value)
        self.version += 1
        news.append(Freed(tag, value))

    def _release(self, tag: str, value: str) -> None:
        self._days[tag].pop(value, None)
        self._firm[tag].discard(value)

    def _alone(self, tag: str, server: str, day: int) -> int:
        """How many open values of a tag a server alone said of late.

        Those of an earlier run are not known.
        """
        said = (self._said.get((tag, value), {}) for value in self._days[tag])
        return sum(
            len(servers) == 1 and day - servers.get(server, day - SAYERS_DAYS - 1) <= SAYERS_DAYS
            for servers in said
        )

    def _count(self, tag: str, value: str, server: str, day: int, news: News) -> int:
        """How many servers said a value of late, this one included."""
        said = self._said.setdefault((tag, value), {})
        if said.get(server) != day:
            if server not in said:
                self._sightings += 1
            said[server] = day
            news.append(Sighting(tag, value, server, day))
            if self._sightings > _MOST_SIGHTINGS:
                self._shrink()
        return self._sayers(tag, value, day)

    def _sayers(self, tag: str, value: str, day: int) -> int:
        """How many servers said a value of late.

        Those whom an earlier run or another process heard may be the same.
        """
        said = self._said.get((tag, value), {})
        late = sum(day - last <= SAYERS_DAYS for last in said.values())
        return max(late, self._before.get((tag, value), 0))

    def _shrink(self) -> None:
        """Forget who said values that wait and that the fewest said: those that were made up."""
        kept = sorted(
            self._said.items(),
            key=lambda item: (item[0][1] in self._days[item[0][0]], len(item[1])),
            reverse=True,
        )
        self._said = {}
        self._sightings = 0
        for name, said in kept:
            if self._sightings + len(said) > _MOST_SIGHTINGS // 2:
                break
            self._said[name] = said
            self._sightings += len(said)
