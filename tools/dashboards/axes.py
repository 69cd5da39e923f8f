"""Axes of counts that are small or 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Final, ParamSpec

from tools.dashboards.kinds import lines
from tools.dashboards.model import Panel

P = ParamSpec("P")

_LEAST_TOP: Final = 4
"""Least top of an axis: Grafana draws one of nothing but 0 up to 100."""


def of_counts(panel: Panel) -> Panel:
    """The same chart with a low axis where all is 0."""
    custom = {**panel.defaults["custom"], "axisSoftMax": _LEAST_TOP}
    return replace(panel, defaults={**panel.defaults, "custom": custom})


def _counting(make: Callable[P, Panel]) -> Callable[P, Panel]:
    @wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> Panel:
        return of_counts(make(*args, **kwargs))

    return made


counts: Final = _counting(lines)
"""Counts over time: `lines` with the axis of `of_counts`."""
