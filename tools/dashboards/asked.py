"""The committed dashboards and rules as Grafana asks them, for tests and benchmarks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.dashboards.variables import ANY

ROOT = Path(__file__).resolve().parents[2]
COMMUNITY = ROOT / "grafana/dashboards/community"
LIBRENMS = ROOT / "grafana/dashboards/librenms"
OPS = ROOT / "grafana/dashboards/ops"
RULES = ROOT / "provisioning/ops/alerting/rules.json"

Json = dict[str, Any]

_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::(\w+))?\}|(\w+))")
_MS = {"s": 1000, "m": 60_000, "h": 3_600_000}
_SPECIAL = re.compile(r"[\\^$*+?.()|\[\]{}/]")


@dataclass(frozen=True)
class Span:
    """A dashboard's range, in ms since 1970."""

    since: int
    until: int


@dataclass(frozen=True)
class Query:
    """One target of one panel."""

    board: str
    panel: str
    ref: str
    source: str
    text: str
    table: bool

    def __str__(self) -> str:
        return f"{self.board} / {self.panel} / {self.ref}"


def boards(folder: Path) -> list[Json]:
    """The dashboards of a folder."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def queries(board: Json) -> Iterator[Query]:
    """Every target of every panel."""
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield Query(
                board["uid"],
                panel["title"],
                target["refId"],
                target["datasource"]["uid"],
                target.get("query") or target.get("rawSql") or target["expr"],
                target.get("resultFormat") == "table" or target.get("format") == "table",
            )


def chosen(board: Json) -> dict[str, str]:
    """The variables of a dashboard as it opens, by name; not the hidden ones (see `hidden`)."""
    return {
        each["name"]: each.get("allValue") or each["current"]["value"]
        for each in board["templating"]["list"]
        if each["hide"] != 2
    }


def hidden(
    board: Json, variables: Mapping[str, str], span: Span, ask: Callable[[str], Sequence[str]]
) -> dict[str, str]:
    """The variables and the dashboard's hidden ones, for which `ask` returns a query's values.

    A query's values are its second column. The result's values are raw, or those that only a
    regular expression uses are alternatives with their special characters escaped.
    """
    found = dict(variables)
    for each in board["templating"]["list"]:
        if each["hide"] == 2:
            values = ask(filled(each["query"], found, span))
            numbers = all(value.isdecimal() for value in values) and len(values) == 1
            escaped = "|".join(_SPECIAL.sub(r"\\\g<0>", value) for value in values)
            found[each["name"]] = values[0] if numbers else f"({escaped})"
    return found


def filled(text: str, variables: Mapping[str, str], span: Span, interval: str = "1m") -> str:
    """A query with macros and variables put in, as Grafana does; KeyError for an unknown one.

    A value in brackets is one of several, of `hidden`, and already a regular expression.
    """
    number, unit = int(interval[:-1]), interval[-1]
    known = {
        "timeFilter": f"time >= {span.since}ms and time <= {span.until}ms",
        "__interval": interval,
        "__interval_ms": str(number * _MS[unit]),
        "interval": interval,
        "__rate_interval": "4m",
        "__from": str(span.since),
        "__to": str(span.until),
        **variables,
    }

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[3]
        form = found[2]
        if form not in (None, "raw", "regex"):
            raise ValueError(f"{text}: the format {form} is not known here")
        if form == "regex" and known[name] != ANY and not known[name].startswith("("):
            return _SPECIAL.sub(r"\\\g<0>", known[name])
        return known[name]

    return _VARIABLE.sub(value, text)
