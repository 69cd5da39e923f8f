"""Finds the panels without data, by asking each query of each dashboard."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import aiohttp

from tools.dashboards.asked import Json, Query, Span, boards, filled, hidden, queries
from tools.dashboards.variables import ANY
from tools.watch.sources import Sources

_POINTS: Final = 500
_HIDDEN: Final = 2
"""Grafana's mark of a variable that no menu shows."""
_STEPS_S: Final = (1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
_UNITS: Final = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "y": timedelta(days=365),
}


@dataclass(frozen=True)
class Empty:
    """A panel none of whose queries gives a value, with its words for that case."""

    board: str
    panel: str
    says: str

    def __str__(self) -> str:
        return f"{self.board} / {self.panel}: {self.says or 'nothing'}"


def span_of(board: Json, now: datetime) -> Span:
    """The range that a dashboard opens with."""
    since, until = (_time(board["time"][end], now, end=end) for end in ("from", "to"))
    return Span(int(since.timestamp() * 1000), int(until.timestamp() * 1000))


def _time(text: str, now: datetime, *, end: str) -> datetime:
    found = re.fullmatch(r"now(?:-(\d+)([mhdwy]))?(/d)?", text)
    if found is None:
        raise ValueError(f"{text}: is no time that is known here")
    number, unit, rounded = found.groups()
    at = now - int(number) * _UNITS[unit] if number else now
    if rounded:
        at = at.replace(hour=0, minute=0, second=0, microsecond=0)
        # As the end of a range it is the end of the day.
        if end == "to":
            at += timedelta(days=1) - timedelta(milliseconds=1)
    return at


def interval_of(span: Span, least: str) -> str:
    """A step for `$__interval` as Grafana chooses it: not under `least`, such as `10s`."""
    wanted = (span.until - span.since) / 1000 / _POINTS
    floor = int(least[:-1]) * {"s": 1, "m": 60, "h": 3600}[least[-1]] if least else 1
    return f"{max(floor, next((step for step in _STEPS_S if step >= wanted), 86_400))}s"


class _Unasked(Exception):
    """A query whose answer is not known yet."""


async def variables_of(
    session: aiohttp.ClientSession, board: Json, sources: Sources, span: Span
) -> Mapping[str, str]:
    """The variables of a dashboard as it opens; those whose default is not there get the first."""
    told: dict[str, str] = {}
    answers: dict[str, list[str]] = {}

    def ask(text: str) -> Sequence[str]:
        try:
            return answers[text]
        except KeyError:
            raise _Unasked(text) from None

    source = next((each["datasource"]["uid"] for each in _queried(board)), "")
    for each in board["templating"]["list"]:
        if each["hide"] == _HIDDEN:
            continue
        name, current = each["name"], each["current"]["value"]
        told[name] = each.get("allValue") or current
        if each["type"] != "query" or each.get("allValue") == ANY:
            continue
        values = await _second_column(session, sources, source, filled(each["query"], told, span))
        if values and current not in values:
            told[name] = values[0]
    while True:
        try:
            return hidden(board, told, span, ask)
        except _Unasked as unasked:
            (text,) = unasked.args
            answers[text] = await _second_column(session, sources, source, text)


def _queried(board: Json) -> list[Json]:
    return [each for each in board["templating"]["list"] if each["type"] == "query"]


async def _second_column(
    session: aiohttp.ClientSession, sources: Sources, source: str, text: str
) -> list[str]:
    """A variable's values: the second column of its query's rows."""
    rows = await sources.influx(session, source, text)
    return [str(row[1]) for one in rows for row in one["values"]]


async def empty_panels(
    session: aiohttp.ClientSession, folder: Path, sources: Sources, now: datetime
) -> list[Empty]:
    """The panels of a folder's dashboards that have no data at `now`. Raises AskError."""
    found: list[Empty] = []
    for board in boards(folder):
        span = span_of(board, now)
        variables = await variables_of(session, board, sources, span)
        for panel in board["panels"]:
            asked = list(queries({**board, "panels": [panel]}))
            interval = interval_of(span, panel.get("interval") or "")
            rate = {"__rate_interval": f"{max(120, int(interval[:-1]) + 30)}s"}
            full = [
                await _has_data(session, query, {**variables, **rate}, span, interval, sources)
                for query in asked
            ]
            if asked and not any(full):
                says = panel["fieldConfig"]["defaults"].get("noValue", "")
                found.append(Empty(board["uid"], panel["title"], says))
    return found


async def _has_data(
    session: aiohttp.ClientSession,
    query: Query,
    variables: Mapping[str, str],
    span: Span,
    interval: str,
    sources: Sources,
) -> bool:
    if not sources.answers(query.source):
        return False
    # The macros of PostgreSQL are the source's.
    text = query.text
    if query.source != "records":
        text = filled(text, variables, span, interval)
    return await sources.has_data(session, query, text, span)
