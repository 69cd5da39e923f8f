"""Line charts of daily counts, as coordinates that the templates draw. Pure.

Coordinates are per thousand of the plot's width and height: the plot stretches to any screen while
its text keeps its size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Final

from collector.days import months

_SIZE: Final = 1000
_STEPS: Final = (1, 2, 2.5, 5, 10)
_MOST_LINES: Final = 5
_FEWEST_DAYS: Final = 2
_MOST_WEEKLY: Final = 75
"""The longest span, in days, whose axis is marked by weeks; longer ones by months."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: position in per cent from the left or the top, and its value."""

    percent: float
    value: int | date


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over days, one for each of several counts, as SVG paths; `area` is under the first.

    `ends` are the heights at which the lines end, in per cent from the top. `marks` are the first
    days of months or, if `weekly`, Mondays.
    """

    first: date
    last: date
    paths: tuple[str, ...]
    area: str
    ends: tuple[float, ...]
    heights: tuple[Tick, ...]
    marks: tuple[Tick, ...]
    weekly: bool


def chart(counts: Sequence[Mapping[date, int]], first: date, last: date) -> Chart | None:
    """The chart of several counts; None for fewer than two days, or without a count.

    A day without a count is a gap in the line.
    """
    days = (last - first).days
    shown = [each[day] for each in counts for day in each if first <= day <= last]
    if days < _FEWEST_DAYS - 1 or not shown:
        return None
    weekly = days <= _MOST_WEEKLY
    starts = [begin for begin, _ in months(first, last) if begin.day == 1]
    at = _Plot.of(max(shown), first, last)
    runs = [_runs(each, first, last) for each in counts]
    return Chart(
        first,
        last,
        paths=tuple("".join(map(at.line, each)) for each in runs),
        area="".join(at.area(run) for run in runs[0] if len(run) > 1),
        ends=tuple(map(at.end, counts)),
        heights=at.heights(),
        marks=at.marks(_mondays(first, last) if weekly else starts),
        weekly=weekly,
    )


@dataclass(frozen=True, slots=True)
class _Plot:
    """The axes of a chart: its first day, its length in days, its grid of heights."""

    first: date
    days: int
    step: int
    top: int

    @classmethod
    def of(cls, highest: int, first: date, last: date) -> _Plot:
        step = _step(highest)
        return cls(first, (last - first).days, step, step * -(-highest // step) or step)

    def heights(self) -> tuple[Tick, ...]:
        """The grid lines, from zero on."""
        values = range(0, self.top + 1, self.step)
        return tuple(Tick(100 * (1 - value / self.top), value) for value in values)

    def marks(self, days: Sequence[date]) -> tuple[Tick, ...]:
        """Marks of these days."""
        return tuple(Tick(100 * (day - self.first).days / self.days, day) for day in days)

    def point(self, day: date, count: int) -> str:
        """Path coordinates of a count."""
        x = _SIZE * (day - self.first).days / self.days
        return f"{x:.4g} {_SIZE * (1 - count / self.top):.4g}"

    def end(self, counts: Mapping[date, int]) -> float:
        """Height of a line's last count, in per cent from the top."""
        return 100 * (1 - counts[max(counts)] / self.top) if counts else 100.0

    def line(self, run: Sequence[tuple[date, int]]) -> str:
        """Path through a run of days; a dot for a single day."""
        points = [self.point(day, count) for day, count in run]
        return f"M{points[0]}" + ("L" + " ".join(points[1:]) if points[1:] else "h0")

    def area(self, run: Sequence[tuple[date, int]]) -> str:
        """Path round the area under a run of days."""
        start, end = self.point(run[0][0], 0), self.point(run[-1][0], 0)
        return f"M{start}L{' '.join(self.point(day, count) for day, count in run)} {end}Z"


def _runs(counts: Mapping[date, int], first: date, last: date) -> list[list[tuple[date, int]]]:
    """Counts grouped into runs of consecutive days."""
    points = sorted((day, count) for day, count in counts.items() if first <= day <= last)
    runs = [points[:1]] if points else []
    for (before, _), point in pairwise(points):
        if point[0] - before == timedelta(days=1):
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs


def _step(highest: int) -> int:
    """Distance between grid lines: a round number that gives at most five lines above zero."""
    size = 1
    while True:
        for factor in _STEPS:
            step = factor * size
            if step == int(step) and highest <= step * _MOST_LINES:
                return int(step)
        size *= 10


def _mondays(first: date, last: date) -> list[date]:
    monday = first + timedelta(days=-first.weekday() % 7)
    return [monday + timedelta(weeks=week) for week in range((last - monday).days // 7 + 1)]
