"""What the operators' dashboards have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from collector.schema import HOURLY_USAGE
from tools.dashboards.kinds import COUNT, daily, stat
from tools.dashboards.meanings import GREEN, RED
from tools.dashboards.model import PROMETHEUS, Override, Panel, Target

TAG: Final = "collector"
LAST_DAY_AND_NOW: Final = ("now-24h", "now")
GOOD: Final = GREEN
BAD: Final = RED
ALARM: Final[tuple[tuple[float | None, str], ...]] = ((None, "green"), (1, "red"))


NOT_MEASURED: Final = "not measured: Prometheus has nothing of it"
"""What a panel says of a metric that no collector has given in the chosen time."""


def figure(
    title: str,
    description: str,
    target: Target,
    *,
    width: int,
    unit: str = COUNT,
    colour: str = "blue",
    no_value: str = "not measured",
    steps: tuple[tuple[float | None, str], ...] = (),
    defaults: Mapping[str, Any] | None = None,
) -> Panel:
    """One number of now, of a low panel and without a line; where it has none, grey words say so.

    Grafana would paint those words as it paints 0, often as an alarm.
    """
    result = {"text": no_value, "color": "text", "index": 0}
    empty = {"type": "special", "options": {"match": "null+nan", "result": result}}
    given = dict(defaults or {})
    given["mappings"] = [*given.get("mappings", ()), empty]
    return stat(
        title,
        description,
        target,
        width=width,
        height=3,
        unit=unit,
        colour=colour,
        line=False,
        no_value=no_value,
        steps=steps,
        defaults=given,
    )


def yes_or_no(panel: Panel) -> Panel:
    """The same number in words: 1 is yes, 0 no."""
    words = {"0": {"text": "no", "index": 1}, "1": {"text": "yes", "index": 2}}
    mappings = [{"type": "value", "options": words}, *panel.defaults["mappings"]]
    return replace(panel, defaults={**panel.defaults, "mappings": mappings})


def prom(query: str, alias: str = "", *, now: bool = False) -> Target:
    """A query of Prometheus; `now` asks for the last value alone, however long the range."""
    return Target(PROMETHEUS, query, alias, table=now)


def quantile(share: float, histogram: str, alias: str) -> Target:
    """The value under which a share of a histogram lies; nothing while nothing happens."""
    rates = f"sum by (le) (rate({histogram}_bucket[$__rate_interval]))"
    # Without a sample it is not a number, which would be drawn as an empty chart without a word.
    return prom(f"histogram_quantile({share}, {rates}) >= 0", alias)


def red(pattern: str) -> Override:
    """Series that a regular expression finds, in the colour of what is wrong."""
    return Override("byRegexp", pattern, {"color": {"mode": "fixed", "fixedColor": BAD}})


def hourly(field: str, alias: str) -> Target:
    """A field of `hourly_usage`."""
    query = f'SELECT "{field}" FROM "{HOURLY_USAGE.name}" WHERE $timeFilter'
    return daily(query, alias)
