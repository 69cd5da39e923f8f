"""Grafana's server-side expressions, reduce and math, over labelled numbers and series.

The grammar and the treatment of labels and missing data follow Grafana's documentation of
"expression queries". Only the parts that the alert rules use exist; anything else is an error.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

Labels = frozenset[tuple[str, str]]
NO_LABELS: Final[Labels] = frozenset()


@dataclass(frozen=True)
class Item:
    """A labelled number (a single value at time -1) or series: values by time in s."""

    labels: Labels
    points: Mapping[int, float]
    is_number: bool

    @property
    def value(self) -> float:
        """The value of a number. Raises KeyError for a series."""
        return self.points[-1]


Value = list[Item]
"""Result of a node (a query or expression); an empty list means "no data"."""


def number(value: float, labels: Labels = NO_LABELS) -> Item:
    """Make a number."""
    return Item(labels, {-1: value}, is_number=True)


def series(labels: Labels, points: Mapping[int, float]) -> Item:
    """Make a series."""
    return Item(labels, points, is_number=False)


def reduced(items: Value, reducer: str) -> Value:
    """Reduce each series to a number; a NaN makes every reducer but `last` return NaN."""
    functions: dict[str, Callable[[list[float]], float]] = {
        "last": lambda values: values[-1],
        "min": min,
        "max": max,
        "sum": math.fsum,
        "mean": lambda values: math.fsum(values) / len(values),
    }
    found = []
    for item in items:
        values = [item.points[time] for time in sorted(item.points)]
        spoilt = reducer != "last" and any(map(math.isnan, values))
        result = functions[reducer](values) if values and not spoilt else math.nan
        found.append(number(result, item.labels))
    return found


def _truth(test: Callable[[float, float], bool]) -> Callable[[float, float], float]:
    return lambda a, b: float(test(a, b))


def _divided(a: float, b: float) -> float:
    if b:
        return a / b
    return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a)


_LEVELS: Final[tuple[dict[str, Callable[[float, float], float]], ...]] = (
    {"||": _truth(lambda a, b: bool(a) or bool(b))},
    {"&&": _truth(lambda a, b: bool(a) and bool(b))},
    {
        "<=": _truth(operator.le),
        ">=": _truth(operator.ge),
        "==": _truth(operator.eq),
        "!=": _truth(operator.ne),
        "<": _truth(operator.lt),
        ">": _truth(operator.gt),
    },
    {"+": operator.add, "-": operator.sub},
    {"*": operator.mul, "/": _divided, "%": math.fmod},
    {"**": operator.pow},
)
_TOKEN: Final = re.compile(
    r"\s*(\$\{\w+\}|\$\w+|\d+(?:\.\d+)?|\*\*|\|\||&&|<=|>=|==|!=|[-+*/%<>()!])"
)


_Expression = Callable[[Mapping[str, Value]], Value]


def computed(expression: str, nodes: Mapping[str, Value]) -> Value:
    """Evaluate a math expression. Raises KeyError for an unknown node, ValueError."""
    return _parsed(expression)(nodes)


@cache
def _parsed(expression: str) -> _Expression:
    """Parse a math expression; a story evaluates each some ten thousand times."""
    tokens = _TOKEN.findall(expression)
    if "".join(tokens) != re.sub(r"\s", "", expression):
        raise ValueError(f"{expression}: not all of it is known here")
    place = 0

    def level(depth: int) -> _Expression:
        nonlocal place
        if depth == len(_LEVELS):
            return atom()
        left = level(depth + 1)
        while place < len(tokens) and tokens[place] in _LEVELS[depth]:
            function = _LEVELS[depth][tokens[place]]
            place += 1
            left = _applied(function, left, level(depth + 1))
        return left

    def atom() -> _Expression:
        nonlocal place
        word = tokens[place]
        place += 1
        if word == "(":
            inside = level(0)
            if tokens[place] != ")":
                raise ValueError(f"{expression}: a bracket is not closed")
            place += 1
            return inside
        if word.startswith("$"):
            return operator.itemgetter(word.strip("${}"))
        constant = [number(float(word))]
        return lambda _nodes: constant

    whole = level(0)
    if place != len(tokens):
        raise ValueError(f"{expression}: not all of it is known here")
    return whole


def _applied(
    function: Callable[[float, float], float], left: _Expression, right: _Expression
) -> _Expression:
    return lambda nodes: _joined(left(nodes), right(nodes), function)


def _joined(left: Value, right: Value, function: Callable[[float, float], float]) -> Value:
    """Apply a function to the pairs of items with equal labels, or with one's a subset."""
    if not left or not right:
        return []
    pairs = [(a, b) for a in left for b in right if a.labels <= b.labels or b.labels <= a.labels]
    if not pairs and len(left) == len(right) == 1:
        pairs = [(left[0], right[0])]
    return [
        Item(a.labels | b.labels, _points(a, b, function), a.is_number and b.is_number)
        for a, b in pairs
    ]


def _points(a: Item, b: Item, function: Callable[[float, float], float]) -> dict[int, float]:
    if a.is_number and b.is_number:
        return {-1: function(a.value, b.value)}
    if a.is_number:
        return {time: function(a.value, value) for time, value in b.points.items()}
    if b.is_number:
        return {time: function(value, b.value) for time, value in a.points.items()}
    return {time: function(a.points[time], b.points[time]) for time in a.points if time in b.points}
