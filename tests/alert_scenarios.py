"""Series made from the scenarios in tests/cases/alerts: hours, days, tables, metrics, Asterisks."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from collector.privacy import suppress_line
from collector.rollup.hourly import Hour, expect, hourly_fields
from collector.rollup.lookback import HISTORY_DAYS
from collector.schema import MEASUREMENTS, FieldType
from collector.schema.live import LIVE
from tests.length import LONG
from tests.prometheus import Sample

CASES: Final = Path(__file__).parent / "cases/alerts"
HOUR: Final = 3600
DAY: Final = 24 * HOUR
K: Final = 5
_ROW_AFTER: Final = 75 * 60
_FINAL_AFTER: Final = DAY + 75 * 60
_SCRAPE: Final = 60
_LOOK: Final = 15 * 60
_FLUSH: Final = 60
_BEFORE: Final = 4 * HOUR
"""Longer than any condition must hold before its alert fires."""
_TYPES: Final = {
    (each.name, field.name): field.type
    for each in MEASUREMENTS
    if each.database == LIVE
    for field in each.fields
}
_AGE: Final = "collector_outbox_age_seconds"
_MIX: Final = {
    "arch": {"aarch64": 0.6, "x86_64": 0.3, "armv7l": 0.1},
    "asl_version": {"asl3-3.5.0": 0.45, "asl3-3.6.1": 0.35, "asl3-3.3.0": 0.2},
}


@dataclass(frozen=True)
class Line:
    """A line of line protocol, and the time in s from which queries see it."""

    visible: int
    text: str


@dataclass(frozen=True)
class Expected:
    """An expected alert: spans of time in which it must fire and clear (None: never)."""

    alert: str
    fires: tuple[int, int]
    clears: tuple[int, int] | None


@dataclass(frozen=True)
class _Node:
    number: int
    second: int
    is_a: dict[str, str]


class Scenario:
    """A scenario, read from a file; its times are `DAYThh:mm` from the start, with days from 0."""

    def __init__(self, path: Path) -> None:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        self.name = path.stem
        self.start = int(datetime.fromisoformat(told["start"]).replace(tzinfo=UTC).timestamp())
        self.end = self.at(told["until"])
        self.watch = self.at(told["watch"])
        self._events: list[dict[str, Any]] = told.get("events", [])
        self._metrics: list[dict[str, Any]] = told.get("metrics", [])
        self._live: list[dict[str, Any]] = told.get("live", [])
        self.nodes = int(told["nodes"])
        self.expected = [
            Expected(
                each["alert"],
                (self.at(each["fires"][0]), self.at(each["fires"][1])),
                each["clears"] and (self.at(each["clears"][0]), self.at(each["clears"][1])),
            )
            for each in told["alerts"]
        ]
        self._rng = random.Random(self.name)
        self._fleet = [self._node(number) for number in range(self.nodes)]
        self._ranks = [
            {node.number: self._rng.random() for node in self._fleet} for _ in self._events
        ]
        self.reports = sorted(
            (at, node.number)
            for node in self._fleet
            for at in self._times(node)
            if self._reports(node, at)
        )

    def is_quiet(self, hour: int) -> bool:
        """Whether no alert is expected to change near the hour that starts at `hour` (s).

        Never in `make long`, which evaluates the rules as often as Grafana in every hour.
        """
        spans = [span for each in self.expected for span in (each.fires, each.clears) if span]
        return not LONG and not any(first - _BEFORE <= hour <= last + HOUR for first, last in spans)

    @property
    def has_live(self) -> bool:
        """Whether it tells of an Asterisk."""
        return bool(self._live)

    def at(self, text: str) -> int:
        """Parse a time of the file to seconds since 1970."""
        day, _, clock = text.partition("T")
        hour, _, minute = clock.partition(":")
        return self.start + int(day) * DAY + int(hour) * HOUR + int(minute) * 60

    def spoken(self, at: int) -> str:
        """Format a time in seconds since 1970 as in the file."""
        day, second = divmod(at - self.start, DAY)
        return f"{day}T{second // HOUR:02}:{second // 60 % 60:02}"

    def _node(self, number: int) -> _Node:
        # Most owners are awake in the second half of the UTC day.
        second = int(self._rng.triangular(0, DAY, 0.7 * DAY)) if self._rng.random() < 0.4 else None
        is_a = {
            name: self._rng.choices(list(mix), list(mix.values()))[0] for name, mix in _MIX.items()
        }
        return _Node(number, self._rng.randrange(DAY) if second is None else second, is_a)

    def _times(self, node: _Node) -> Iterator[int]:
        for day in range(-(-(self.end - self.start) // DAY)):
            at = self.start + day * DAY + node.second
            for event, ranks in zip(self._events, self._ranks, strict=True):
                if event["kind"] == "shift" and ranks[node.number] < event["share"]:
                    at += event["seconds"] if at >= self.at(event["from"]) else 0
            yield at

    def _reports(self, node: _Node, at: int) -> bool:
        return not any(
            self._silences(event, ranks[node.number], node, at)
            for event, ranks in zip(self._events, self._ranks, strict=True)
        )

    def _silences(self, event: dict[str, Any], rank: float, node: _Node, at: int) -> bool:
        since = self.at(event["from"]) if "from" in event else self.start
        until = self.at(event["to"]) if "to" in event else self.end
        held = bool(since <= at < until and rank < event.get("share", 1))
        match event["kind"]:
            case "lose":
                return held and bool(event.get("of", {}).items() <= node.is_a.items())
            case "leak":
                gone = since + rank / event["per_day"] * DAY
                return bool(gone <= at and gone < until)
            case "weekend":
                return held and (at // DAY + 3) % 7 >= 5
            case "flicker":
                return held and at // DAY % 2 == 0
            case "join":
                return bool(at < since and rank < event["share"])
            case "intake-down":
                return since <= at < until
            case "shift" | "rollup-stopped":
                return False
        raise AssertionError(event["kind"])

    def _shown(self, due: int) -> int:
        """The time at which rows due at `due` are stored: later if the rollup is down then."""
        for event in self._events:
            if event["kind"] in ("intake-down", "rollup-stopped"):
                since, until = self.at(event["from"]), self.at(event["to"])
                if since <= due < until:
                    return until
        return due

    def lines(self) -> list[Line]:
        """Lines of `hourly_usage`, `daily_usage` and the one-way tables of `daily_nodes`."""
        return [*self._hourly(), *self._daily()]

    def _hourly(self) -> Iterator[Line]:
        rows: dict[int, Hour] = {}
        last: dict[int, int] = {}
        place = 0
        for begin in range(self.start, self.end, HOUR):
            heard = []
            while place < len(self.reports) and self.reports[place][0] < begin + HOUR:
                at, number = self.reports[place]
                last[number] = at
                heard.append(number)
                place += 1
            around = sum(at >= begin + HOUR - DAY for at in last.values())
            hour = Hour(len(heard), len(set(heard)), around, around)
            history = [
                rows[past]
                for back in range(1, HISTORY_DAYS + 1)
                if (past := begin - back * DAY) in rows
            ]
            rows[begin] = hour = expect(hour, history)
            fields = ",".join(
                f"{name}={value}" + ("i" if isinstance(value, int) else "")
                for name, value in hourly_fields(hour).items()
            )
            yield Line(self._shown(begin + _ROW_AFTER), f"hourly_usage {fields} {begin}000000000")

    def _daily(self) -> Iterator[Line]:
        nodes = {node.number: node for node in self._fleet}
        for begin in range(self.start, self.end, DAY):
            heard = {number for at, number in self.reports if begin <= at < begin + DAY}
            visible = self._shown(begin + _FINAL_AFTER)
            fields = f"nodes={len(heard)}i,reports={len(heard)}i,final=1i"
            yield Line(visible, f"daily_usage {fields} {begin}000000000")
            for dimension in _MIX:
                counts = Counter(nodes[number].is_a[dimension] for number in heard)
                shown = suppress_line(counts, len(heard), K)
                if loss := len(heard) - sum(shown.values()):
                    shown["other"] = loss
                for value, count in shown.items():
                    tags = f"dimension={dimension},value={value},within=all,within_value=all"
                    yield Line(
                        visible, f"daily_nodes,{tags} nodes={count}i,final=1i {begin}000000000"
                    )

    def live_lines(self) -> Iterator[Line]:
        """Lines of the live database: a point a minute of each series, while it has a value."""
        for series in self._live:
            name, tags = series["measurement"], series["tags"]
            escaped = {tag: value.replace(" ", "\\ ") for tag, value in tags.items()}
            key = "".join(f",{tag}={value}" for tag, value in escaped.items())
            for at in range(self.start, self.end, _FLUSH):
                fields = []
                for field, steps in series["fields"].items():
                    value = self._stepped(steps, at)
                    if value is not None:
                        whole = _TYPES[name, field] is FieldType.INTEGER
                        fields.append(f"{field}={value}" + ("i" if whole else ""))
                if fields:
                    yield Line(at, f"{name}{key} {','.join(fields)} {at}000000000")

    def samples(self) -> list[Sample]:
        """Samples of Prometheus, from four days before the watched period on."""
        since = max(self.start, self.watch - 4 * DAY - HOUR)
        found: list[Sample] = []
        heard = 0
        place = 0
        labels = {"job": "collector", "instance": "collector:16081"}
        for at in range(since, self.end, _SCRAPE):
            while place < len(self.reports) and self.reports[place][0] <= at:
                heard += 1
                place += 1
            down = any(
                event["kind"] == "intake-down"
                and self.at(event["from"]) <= at < self.at(event["to"])
                for event in self._events
            )
            found.append(("up", labels, at, 0 if down else 1))
            if not down:
                outcome = labels | {"intake": "asl", "outcome": "accepted"}
                found.append(("collector_reports_total", outcome, at, heard))
                success = "collector_rollup_last_success_timestamp_seconds"
                found.append((success, labels, at, self._looked(at)))
                told = [
                    (metric["name"], labels | metric.get("labels", {}), at, value)
                    for metric in self._metrics
                    if (value := self._stepped(metric["steps"], at)) is not None
                ]
                if _AGE not in {name for name, *_ in told}:
                    told.append((_AGE, labels, at, 0))
                found += told
        return found

    def _looked(self, at: int) -> int:
        """The time of the rollup's last complete run before `at`."""
        for event in self._events:
            if event["kind"] == "rollup-stopped":
                since, until = self.at(event["from"]), self.at(event["to"])
                if since <= at < until:
                    return since
        return at // _LOOK * _LOOK

    def _stepped(
        self, steps: list[tuple[str, float | Literal["rising"] | None]], at: int
    ) -> float | None:
        """The value at a time of steps `[from, value]`; None before the first, and where it says.

        The value `rising` rises by 1 a second from 0.
        """
        reached = [each for each in steps if self.at(each[0]) <= at]
        if not reached:
            return None
        since, value = reached[-1]
        return at - self.at(since) if value == "rising" else value


def cases() -> list[Path]:
    """The files of all scenarios."""
    return sorted(CASES.glob("*.json"))
