"""Query parameters of the downloads: a span of days, and filters of the rows. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Final

from collector.days import day_named
from collector.events.event import Kind
from collector.problems import Reason, Refusal
from collector.public.datasets import Dataset
from collector.public.definitions import MEASURES
from collector.schema import ALL, LABEL_LENGTH, NODE_DIMENSIONS

DAY_PATTERN: Final = r"\d{4}-\d{2}-\d{2}"
_CHOICES: Final = {
    "measure": frozenset(item.name for item in MEASURES),
    "kind": frozenset(Kind),
    "within": frozenset((ALL, *NODE_DIMENSIONS)),
}


def parse_parameters(
    dataset: Dataset, query: Mapping[str, str]
) -> tuple[date, date, dict[str, str]] | Refusal:
    """Parse a query string to the first day, the last day and the filters, or refuse it."""
    known = ("from", "to", *dataset.filters)
    values: dict[str, str] = {}
    for name, value in query.items():
        if name not in known:
            return no_such_parameter(known)
        if name in values:
            return Refusal(Reason.INVALID_PARAMETER, f"`{name}` is given twice")
        values[name] = value
    first = _day(values.pop("from")) if "from" in values else date.min
    last = _day(values.pop("to")) if "to" in values else date.max
    for name, day in (("from", first), ("to", last)):
        if day is None:
            return Refusal(
                Reason.INVALID_PARAMETER, f"`{name}` must be YYYY-MM-DD, today or yesterday"
            )
    if first is None or last is None or first > last:
        return Refusal(Reason.INVALID_PARAMETER, "`from` is after `to`")
    choices = {**_CHOICES, "dimension": frozenset(dataset.dimensions)}
    for name, value in values.items():
        if not 0 < len(value) <= LABEL_LENGTH or not value.isprintable():
            return Refusal(
                Reason.INVALID_PARAMETER,
                f"`{name}` must be 1 to {LABEL_LENGTH} printable characters",
            )
        if value not in choices.get(name, {value}):
            words = ", ".join(sorted(choices[name]))
            return Refusal(Reason.INVALID_PARAMETER, f"`{name}` must be one of {words}")
    return first, last, values


def _day(text: str) -> date | None:
    if not re.fullmatch(f"{DAY_PATTERN}|today|yesterday", text):
        return None
    try:
        return day_named(text, datetime.now(UTC).date())
    except ValueError:
        return None


def no_such_parameter(known: tuple[str, ...]) -> Refusal:
    """The refusal of a parameter that is none of the `known` ones."""
    words = ", ".join(f"`{name}`" for name in known) or "none"
    return Refusal(Reason.INVALID_PARAMETER, f"known parameters here: {words}")
