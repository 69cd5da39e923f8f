"""Marks of events on the chart of the home page. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final

from collector.events.event import Event, Kind

_KINDS: Final = (Kind.VERSION, Kind.OUTAGE, Kind.NOTE)
"""Versions of packages would fill the chart."""
_APART: Final = 5.0
"""Least distance between two marks in per cent of the width: 17 px on a phone of 390 px."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A numbered mark on the chart, at `percent` from the left, for events of days close together.

    `lines` are the days of the events, in per cent from the left.
    """

    number: int
    percent: float
    lines: tuple[float, ...]
    events: tuple[Event, ...]


def marks(events: Iterable[Event], first: date, last: date) -> list[Mark]:
    """The marks of a chart from `first` to `last`, numbered from 1, oldest first."""
    days = max(1, (last - first).days)
    groups: list[dict[float, list[Event]]] = []
    for event in sorted(events):
        if event.kind not in _KINDS or not first <= event.day <= last:
            continue
        at = 100 * (event.day - first).days / days
        if not groups or at - min(groups[-1]) >= _APART:
            groups.append({})
        groups[-1].setdefault(at, []).append(event)
    return [
        Mark(
            number,
            min(group),
            tuple(group),
            tuple(event for found in group.values() for event in found),
        )
        for number, group in enumerate(groups, 1)
    ]
