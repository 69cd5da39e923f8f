"""Report of a month: numbers of the published series, taken once when the month is over. Pure.

A report holds numbers and names, no words: pages put them into words of any language.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict

from collector.days import month_after
from collector.events.event import Event, Kind
from collector.schema import ASL_VERSION, OTHER

Tables = Mapping[str, Mapping[str, int]]
"""Published counts of nodes in the whole network, by dimension and value."""

_MOST_VALUES: Final = 40
_MOST_LINES: Final = 5
_MOST_UPGRADES: Final = 10
_MOST_EVENTS: Final = 60
_SUMS: Final = ("reports", "new_nodes", "lapsed_nodes")
_WINDOW: Final = timedelta(days=30)
_WINDOWS: Final = ("nodes_30d", "servers_30d")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Change(_Frozen):
    """Counts of one property's values on the first and the last day of the tables."""

    before: dict[str, int]
    after: dict[str, int]

    def was(self, value: str) -> int | None:
        """The count of a value on the first day; None if suppression may have hidden it."""
        return self.before.get(value, None if OTHER in self.before else 0)

    def is_now(self, value: str) -> int | None:
        """The same on the last day."""
        return self.after.get(value, None if OTHER in self.after else 0)


class Upgrade(_Frozen):
    """Nodes that went from one AllStarLink version to another, summed over the month."""

    origin: str
    target: str
    nodes: int


class MonthReport(_Frozen):
    """The report of the month that begins on `first`.

    `begun` is the first day of the series; `begin` and `end` are the month's first and last
    complete day, `days` is the number of complete days. In `nodes`, `servers` and `lines` there is
    a number for each day of the calendar month; None if the day has none. `lines` are those
    AllStarLink versions that most nodes had on the last day. `sums` are sums over the days of the
    month of `reports`, `new_nodes` and `lapsed_nodes`; `windows` and `windows_before` are
    `nodes_30d` and `servers_30d` at the end of this month and of the one before. `upgraded` counts
    all published changes of version; `upgrades` are the most frequent of them. `tables_begin` and
    `tables_end` are the days of `tables`; None without tables.
    """

    first: date
    begun: date
    begin: date
    end: date
    days: int
    made: datetime
    nodes: list[int | None]
    servers: list[int | None]
    sums: dict[str, int]
    windows: dict[str, int]
    windows_before: dict[str, int]
    tables_begin: date | None = None
    tables_end: date | None = None
    tables: dict[str, Change]
    lines: dict[str, list[int | None]]
    upgraded: int
    upgrades: list[Upgrade]
    events: list[Event]

    @property
    def last(self) -> date:
        """The last day of the calendar month."""
        return last_day(self.first)

    @property
    def flows_known(self) -> bool:
        """Whether the series is old enough to tell nodes that are new from those not yet seen."""
        return self.first - self.begun >= _WINDOW

    @property
    def missing(self) -> int:
        """Days after the first complete one that are not complete, or not there."""
        return (self.last - self.begin).days + 1 - self.days

    def nodes_on(self, day: date) -> int:
        """Nodes of a complete day; 0 if it has none."""
        return self.nodes[(day - self.first).days] or 0

    def servers_on(self, day: date) -> int:
        """Servers of a complete day; 0 if it has none."""
        return self.servers[(day - self.first).days] or 0


def last_day(first: date) -> date:
    """The last day of the month that begins on `first`."""
    return month_after(first) - timedelta(days=1)


def compose(
    first: date,
    *,
    begun: date,
    usage: Mapping[date, Mapping[str, int]],
    tables: Mapping[date, Tables],
    upgrades: Iterable[tuple[str, str, int]],
    events: Iterable[Event],
    made: datetime,
) -> MonthReport:
    """The report of a month.

    `begun` is the first complete day of the series. `usage` has the fields of `daily_usage` of the
    complete days of this month, and of the last day of the month before. `tables` has the tables of
    this month's days. Raises ValueError if no day of the month is complete.
    """
    days = [first + timedelta(days=n) for n in range((last_day(first) - first).days + 1)]
    complete = [day for day in days if "nodes" in usage.get(day, {})]
    if not complete:
        raise ValueError(f"no day of {first:%Y-%m} is complete")
    counted = [day for day in complete if tables.get(day)]
    changes = _changes(tables[counted[0]], tables[counted[-1]]) if counted else {}
    flows: Counter[tuple[str, str]] = Counter()
    for origin, target, nodes in upgrades:
        flows[origin, target] += nodes
    named = sorted(
        ((pair, nodes) for pair, nodes in flows.items() if OTHER not in pair),
        key=lambda each: (-each[1], each[0]),
    )
    return MonthReport(
        first=first,
        begun=begun,
        begin=complete[0],
        end=complete[-1],
        days=len(complete),
        made=made,
        nodes=[usage.get(day, {}).get("nodes") for day in days],
        servers=[usage.get(day, {}).get("servers") for day in days],
        sums={
            name: sum(values)
            for name in _SUMS
            if (values := [usage[day][name] for day in complete if name in usage[day]])
        },
        windows=_windows(usage[complete[-1]]),
        windows_before=(
            _windows(usage.get(first - timedelta(days=1), {})) if first - begun >= _WINDOW else {}
        ),
        tables_begin=counted[0] if counted else None,
        tables_end=counted[-1] if counted else None,
        tables=changes,
        lines=_lines(days, tables, changes),
        upgraded=flows.total(),
        upgrades=[
            Upgrade(origin=origin, target=target, nodes=nodes)
            for (origin, target), nodes in named[:_MOST_UPGRADES]
        ],
        events=[
            event
            for event in sorted(events)
            if first <= event.day <= days[-1] and event.kind is not Kind.PACKAGE
        ][:_MOST_EVENTS],
    )


def _windows(fields: Mapping[str, int]) -> dict[str, int]:
    return {name: fields[name] for name in _WINDOWS if name in fields}


def _changes(before: Tables, after: Tables) -> dict[str, Change]:
    """The values with the highest counts; the counts of the rest are in `other` on both days."""
    found = {}
    for dimension in sorted({*before, *after}):
        then, now = before.get(dimension, {}), after.get(dimension, {})
        ranked = sorted(
            {*then, *now} - {OTHER}, key=lambda v: (-max(then.get(v, 0), now.get(v, 0)), v)
        )
        kept = ranked[:_MOST_VALUES]
        found[dimension] = Change(before=_cut(then, kept), after=_cut(now, kept))
    return found


def _cut(counts: Mapping[str, int], kept: Sequence[str]) -> dict[str, int]:
    shown = {value: counts[value] for value in kept if value in counts}
    rest = sum(counts.values()) - sum(shown.values())
    return shown | ({OTHER: rest} if rest else {})


def _lines(
    days: Sequence[date], tables: Mapping[date, Tables], changes: Mapping[str, Change]
) -> dict[str, list[int | None]]:
    if ASL_VERSION.name not in changes:
        return {}
    after = changes[ASL_VERSION.name].after
    most = sorted(after.keys() - {OTHER}, key=lambda value: (-after[value], value))[:_MOST_LINES]
    return {
        value: [tables.get(day, {}).get(ASL_VERSION.name, {}).get(value) for day in days]
        for value in most
    }
