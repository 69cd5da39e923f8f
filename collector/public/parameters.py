"""Query parameters of the downloads: a span of days, and filters of the rows. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Final

from collector.days import day_named
from collector.events.event import Kind
from collector.public.datasets import Dataset
from collector.public.definitions import MEASURES
from collector.public.responses import WrongParameter
from collector.schema import ALL, LABEL_LENGTH, NODE_DIMENSIONS

DAY_PATTERN: Final = r"\d{4}-\d{2}-\d{2}"
_CHOICES: Final = {
    "measure": frozenset(item.name for item in MEASURES),
    "kind": frozenset(Kind),
    "within": frozenset((ALL, *NODE_DIMENSIONS)),
}


def parse_parameters(
    dataset: Dataset, query: Mapping[str, str]
) -> tuple[date, date, dict[str, str]]:
    """Parse a query string to the first day, the last day and the filters.

    Raises WrongParameter.
    """
    known = ("from", "to", *dataset.filters)
    values: dict[str, str] = {}
    for name, value in query.items():
        if name not in known:
            raise no_such_parameter(known)
        if name in values:
            raise WrongParameter(f"`{name}` is given twice")
        values[name] = value
    first = _day("from", values.pop("from")) if "from" in values else date.min
    last = _day("to", values.pop("to")) if "to" in values else date.max
    if first > last:
        raise WrongParameter("`from` is after `to`")
    choices = {**_CHOICES, "dimension": frozenset(dataset.dimensions)}
    for name, value in values.items():
        if not 0 < len(value) <= LABEL_LENGTH or not value.isprintable():
            raise WrongParameter(f"`{name}` must be 1 to {LABEL_LENGTH} printable characters")
        if value not in choices.get(name, {value}):
            raise WrongParameter(f"`{name}` must be one of {', '.join(sorted(choices[name]))}")
    return first, last, values


def _day(name: str, text: str) -> date:
    with suppress(ValueError):
        if re.fullmatch(f"{DAY_PATTERN}|today|yesterday", text):
            return day_named(text, datetime.now(UTC).date())
    raise WrongParameter(f"`{name}` must be YYYY-MM-DD, today or yesterday")


def no_such_parameter(known: tuple[str, ...]) -> WrongParameter:
    """The error for a parameter that is none of the `known` ones."""
    words = ", ".join(f"`{name}`" for name in known) or "none"
    return WrongParameter(f"known parameters here: {words}")
