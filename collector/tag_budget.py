"""Budgets of tag values: which distinct values each tag may have. Pure.

The rules: docs/security.md, "Budgets of tags". Reasons: docs/decisions/0073-tag-budgets.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from collector.schema import OTHER, UNKNOWN


@dataclass(frozen=True, slots=True)
class Sighting:
    """A server (pseudonym) has reported a value that is not firm, on a UTC day."""

    tag: str
    value: str
    server: str
    day: int


@dataclass(frozen=True, slots=True)
class TagValue:
    """A value that a tag holds, and the last UTC day (days since 1970) on which it was reported.

    It is `firm` once `FIRM_SERVERS` servers have reported it within `FIRM_DAYS`.
    """

    tag: str
    value: str
    day: int
    firm: bool = False


@dataclass(frozen=True, slots=True)
class Freed:
    """A value that a tag no longer holds."""

    tag: str
    value: str


Change = TagValue | Sighting | Freed
Changes = list[Change]
"""Changes of a budget to store for later runs, in order."""

FIRM_SERVERS: Final = 5
"""Different servers that make a value firm."""
FIRM_DAYS: Final = 7
"""Days within which they must report it, and after which an unreported open value may go."""
ALONE: Final = 5
"""Limit of a tag's open values that only one server has reported, for each server."""
_MOST_SIGHTINGS: Final = 20_000


def servers_needed(held: int, budget: int) -> int | None:
    """Number of servers that must report a new value of a tag that holds `held` values.

    It is 1 while less than half of the budget is used; then 5, and twice as many with each further
    tenth of the budget. None if the budget is used up.
    """
    if held >= budget:
        return None
    if 2 * held < budget:
        return 1
    return FIRM_SERVERS << (10 * held // budget - 5)


class TagBudget:
    """Limits the distinct values of each tag, so that the number of InfluxDB's series is bounded.

    `budgets` has the limit of each tag; `unknown` and `other` do not count. A new value is admitted
    when enough servers have reported it within `FIRM_DAYS` (`servers_needed`), or when it has more
    servers than an open value, which it replaces; until then it is stored as `other`. A firm value
    is held for `memory_days` after its last report, an open one for `FIRM_DAYS` when half of the
    budget is used. `seen` are the values of earlier runs, `server_counts` the number of servers
    that reported each value that is not firm.
    """

    def __init__(
        self,
        budgets: Mapping[str, int],
        *,
        memory_days: int,
        seen: Iterable[TagValue] = (),
        server_counts: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        self._budgets = dict(budgets)
        self._memory_days = memory_days
        self._days: dict[str, dict[str, int]] = {tag: {} for tag in budgets}
        self._firm: dict[str, set[str]] = {tag: set() for tag in budgets}
        self._servers: dict[tuple[str, str], dict[str, int]] = {}
        self._sightings = 0
        self._before: dict[tuple[str, str], int] = {}
        self._swept = dict.fromkeys(budgets, -1)
        self.version = 0
        """Increases when an earlier result of `admit` may no longer be valid."""
        self.replace(seen, server_counts or {})

    def held(self, tag: str) -> int:
        """The number of values that a tag holds."""
        return len(self._days[tag])

    def is_firm(self, tag: str, value: str) -> bool:
        """Whether the servers of a value no longer need to be counted."""
        return value in self._firm[tag] or value in (UNKNOWN, OTHER)

    def replace(
        self,
        seen: Iterable[TagValue],
        server_counts: Mapping[tuple[str, str], int],
        changes: Iterable[Change] = (),
    ) -> None:
        """Replace all values by those read from the memory, with `changes` since they were read.

        Other processes may have admitted or freed values. The servers of values that are no longer
        in `server_counts` are forgotten.
        """
        before = self._days
        self._days = {tag: {} for tag in self._budgets}
        self._firm = {tag: set() for tag in self._budgets}
        fresh = set()
        for item in (*seen, *changes):
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
        self._before = dict(server_counts)
        for gone in [one for one in self._servers if one not in server_counts and one not in fresh]:
            self._sightings -= len(self._servers.pop(gone))

    def admit(self, tag: str, value: str, server: str, day: int, changes: Changes) -> str:
        """The value to store when `server` reports `value`: the same, or `other`.

        Appends to `changes`: the first report of a value on a day, the servers of values that are
        not firm, and values that are freed.
        """
        days, firm = self._days[tag], value in self._firm[tag]
        last = days.get(value)
        if (firm and last == day) or value in (UNKNOWN, OTHER):
            return value
        said = FIRM_SERVERS if firm else self._count(tag, value, server, day, changes)
        if last is None:
            if not self._has_room(tag, value, server, day, changes):
                return OTHER
            if said > 1:
                # It was stored as `other` until now.
                self.version += 1
        becomes_firm = not firm and said >= FIRM_SERVERS
        if becomes_firm:
            self._firm[tag].add(value)
            self._sightings -= len(self._servers.pop((tag, value), ()))
            self._before.pop((tag, value), None)
        if last is None or last < day or becomes_firm:
            # A clock that was set back must not make a value older.
            days[value] = day if last is None else max(day, last)
            changes.append(TagValue(tag, value, days[value], firm or becomes_firm))
        return value

    def _has_room(self, tag: str, value: str, server: str, day: int, changes: Changes) -> bool:
        """Whether a new value is admitted, possibly in place of one with fewer servers."""
        days, budget = self._days[tag], self._budgets[tag]
        if 2 * len(days) >= budget and self._swept[tag] != day:
            self._swept[tag] = day
            self._sweep(tag, day, changes)
        said = self._server_count(tag, value, day)
        needed = servers_needed(len(days), budget)
        if needed == 1:
            return said > 1 or self._alone(tag, server, day) < ALONE
        if needed is not None and said >= needed:
            return True
        if said == 1:
            return False
        others = {v: self._server_count(tag, v, day) for v in days if v not in self._firm[tag]}
        if not others:
            return False
        weakest = min(others, key=lambda v: (others[v], days[v], v))
        if others[weakest] >= said:
            return False
        self._free(tag, weakest, changes)
        return True

    def _sweep(self, tag: str, day: int, changes: Changes) -> None:
        for value, last in list(self._days[tag].items()):
            held_for = self._memory_days
            if value not in self._firm[tag]:
                held_for = min(held_for, FIRM_DAYS)
            if day - last > held_for:
                self._free(tag, value, changes)

    def _free(self, tag: str, value: str, changes: Changes) -> None:
        self._release(tag, value)
        self.version += 1
        changes.append(Freed(tag, value))

    def _release(self, tag: str, value: str) -> None:
        self._days[tag].pop(value, None)
        self._firm[tag].discard(value)

    def _alone(self, tag: str, server: str, day: int) -> int:
        """Number of a tag's open values that only this server has reported recently.

        Values of earlier runs are not included.
        """
        said = (self._servers.get((tag, value), {}) for value in self._days[tag])
        return sum(
            len(servers) == 1 and day - servers.get(server, day - FIRM_DAYS - 1) <= FIRM_DAYS
            for servers in said
        )

    def _count(self, tag: str, value: str, server: str, day: int, changes: Changes) -> int:
        """Record a server's report of a value; the number of servers that reported it recently."""
        said = self._servers.setdefault((tag, value), {})
        if said.get(server) != day:
            if server not in said:
                self._sightings += 1
            said[server] = day
            changes.append(Sighting(tag, value, server, day))
            if self._sightings > _MOST_SIGHTINGS:
                self._shrink()
        return self._server_count(tag, value, day)

    def _server_count(self, tag: str, value: str, day: int) -> int:
        """Number of servers that have reported a value recently.

        The servers counted by earlier runs or other processes may be the same ones, so the two
        numbers are not added.
        """
        said = self._servers.get((tag, value), {})
        late = sum(day - last <= FIRM_DAYS for last in said.values())
        return max(late, self._before.get((tag, value), 0))

    def _shrink(self) -> None:
        """Discard the servers of waiting values with the fewest servers, probably made up."""
        ranked = sorted(
            self._servers.items(),
            key=lambda item: (item[0][1] in self._days[item[0][0]], len(item[1])),
            reverse=True,
        )
        self._servers = {}
        self._sightings = 0
        for name, said in ranked:
            if self._sightings + len(said) > _MOST_SIGHTINGS // 2:
                break
            self._servers[name] = said
            self._sightings += len(said)
