"""Evaluates provisioned alert rules over simulated time, as Grafana's scheduler does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tools.watch.expressions import Labels, Value
from tools.watch.rules import Provisioned, provisioned, seconds

__all__ = ["Ask", "Change", "Provisioned", "Watch", "intervals", "provisioned", "run", "seconds"]

_MISSING_UNTIL_RESOLVED: Final = 2
_QUIET_STEP: Final = 1800

Ask = Callable[[Sequence[tuple[str, str, int]]], list[Value]]
"""A function that answers queries, each given as datasource uid, text and time in s."""


@dataclass
class _State:
    since: int | None = None
    """Time since which the condition has held without a break; None if it does not hold."""
    firing: bool = False
    missing: int = 0


@dataclass(frozen=True)
class Change:
    """The start or end of an alert's firing, with its time in s."""

    at: int
    alert: str
    labels: Labels
    firing: bool


@dataclass
class Watch:
    """States of the alerts of a rule; call `evaluate` in order of time."""

    of: Provisioned
    changes: list[Change] = field(default_factory=list)
    _states: dict[Labels, _State] = field(default_factory=dict)

    def evaluate(self, now: int, value: Value) -> None:
        """Evaluate the rule once; no data counts as OK, as all rules here configure it."""
        assert self.of.rule["noDataState"] == "OK"
        found = {item.labels: item.value != 0 for item in value}
        for labels, holds in found.items():
            self._step(now, labels, self._states.setdefault(labels, _State()), holds=holds)
        for labels, state in self._states.items():
            if labels in found:
                state.missing = 0
                continue
            state.missing += 1
            if not value or state.missing >= _MISSING_UNTIL_RESOLVED:
                self._step(now, labels, state, holds=False)

    def _step(self, now: int, labels: Labels, state: _State, *, holds: bool) -> None:
        if not holds:
            state.since = None
        elif state.since is None:
            state.since = now
        firing = state.since is not None and now - state.since >= seconds(self.of.rule["for"])
        if firing != state.firing:
            state.firing = firing
            self.changes.append(Change(now, self.of.title, labels, firing))


def run(
    rules: Sequence[Provisioned],
    since: int,
    until: int,
    ask: Ask,
    *,
    before: Callable[[int], None],
    is_quiet: Callable[[int], bool] = lambda _hour: False,
) -> list[Change]:
    """Evaluate rules at their intervals from `since` to `until` (s), hour by hour.

    `before` is called with the start of each hour, to store the data that exists by then. In an
    hour that `is_quiet`, rules are evaluated every `_QUIET_STEP` s.
    """
    watches = [Watch(rule) for rule in rules]
    for hour in range(since, until, 3600):
        before(hour)
        least = _QUIET_STEP if is_quiet(hour) else 0
        turns = [
            (now, watch)
            for now in range(hour, hour + 3600, 60)
            for watch in watches
            if now % max(watch.of.interval, least) == 0
        ]
        asked = [(watch, now, watch.of.queries(now)) for now, watch in turns]
        answers = iter(ask([query for _, _, queries in asked for query in queries]))
        for watch, now, queries in asked:
            watch.evaluate(now, watch.of.condition([next(answers) for _ in queries]))
    return sorted(
        (change for watch in watches for change in watch.changes), key=lambda each: each.at
    )


def intervals(changes: Sequence[Change]) -> Iterator[tuple[str, Labels, int, int | None]]:
    """Pair changes to firings: alert name, labels, start, and end (None if it did not end)."""
    open_: dict[tuple[str, Any], int] = {}
    for change in changes:
        key = (change.alert, change.labels)
        if change.firing:
            open_[key] = change.at
        else:
            yield change.alert, change.labels, open_.pop(key), change.at
    for (alert, labels), begin in open_.items():
        yield alert, labels, begin, None
