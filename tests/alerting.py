"""Evaluates provisioned alert rules over simulated time, as Grafana's scheduler does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from tests.alert_math import Labels, Value, computed, reduced
from tools.dashboards.asked import RULES, Json, Span, filled

S_MS: Final = 1000
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MISSING_UNTIL_RESOLVED: Final = 2
_QUIET_STEP: Final = 900

Ask = Callable[[Sequence[tuple[str, str, int]]], list[Value]]
"""A function that answers queries, each given as datasource uid, text and time in s."""


@cache
def seconds(text: str) -> int:
    """Parse a duration in Prometheus' format to seconds."""
    found = re.findall(r"(\d+)([smhd])", text)
    assert "".join(n + unit for n, unit in found) == text, text
    return sum(int(n) * _UNITS[unit] for n, unit in found)


@dataclass(frozen=True)
class Provisioned:
    """A provisioned rule, and the interval of its group in seconds."""

    rule: Json
    interval: int

    @property
    def title(self) -> str:
        return str(self.rule["title"])

    def queries(self, now: int) -> list[tuple[str, str, int]]:
        """Its queries at a time in s, with macros replaced."""
        return [self._query(node, now) for node in self.rule["data"] if not _is_expression(node)]

    def sources(self) -> set[str]:
        return {n["datasourceUid"] for n in self.rule["data"] if not _is_expression(n)}

    def _query(self, node: Json, now: int) -> tuple[str, str, int]:
        model, span = node["model"], node["relativeTimeRange"]
        until = now - span["to"]
        if "expr" in model:
            assert model["instant"]
            return node["datasourceUid"], model["expr"], until
        text = filled(model["query"], {}, Span((now - span["from"]) * S_MS, until * S_MS))
        return node["datasourceUid"], text, until

    def condition(self, answers: Sequence[Value]) -> Value:
        """Evaluate its condition from the answers to `queries`, in the same order."""
        nodes: dict[str, Value] = {}
        left = iter(answers)
        for node in self.rule["data"]:
            model = node["model"]
            if not _is_expression(node):
                nodes[node["refId"]] = next(left)
            elif model["type"] == "reduce":
                nodes[node["refId"]] = reduced(nodes[model["expression"]], model["reducer"])
            elif model["type"] == "math":
                nodes[node["refId"]] = computed(model["expression"], nodes)
            else:
                raise AssertionError(f"{self.title}: {model['type']} is not known here")
        return nodes[self.rule["condition"]]


def _is_expression(node: Json) -> bool:
    return bool(node["datasourceUid"] == "__expr__")


def provisioned() -> list[Provisioned]:
    """Read all rules of the committed file."""
    groups = json.loads(RULES.read_text(encoding="utf-8"))["groups"]
    return [
        Provisioned(rule, seconds(group["interval"])) for group in groups for rule in group["rules"]
    ]


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
