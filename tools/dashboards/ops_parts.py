"""What the operators' dashboards have in common."""

from __future__ import annotations

from typing import Final

from collector.schema import HOURLY_USAGE
from tools.dashboards.kinds import daily
from tools.dashboards.model import PROMETHEUS, Override, Target

TAG: Final = "collector"
LAST_DAY_AND_NOW: Final = ("now-24h", "now")
GOOD: Final = "#73bf69"
BAD: Final = "#f2495c"
ALARM: Final[tuple[tuple[float | None, str], ...]] = ((None, "green"), (1, "red"))


def prom(query: str, alias: str = "", *, now: bool = False) -> Target:
    """A query of Prometheus; `now` asks for the last value alone, however long the range."""
    return Target(PROMETHEUS, query, alias, table=now)


def quantile(share: float, histogram: str, alias: str) -> Target:
    """The value under which a share of a histogram lies."""
    return prom(
        f"histogram_quantile({share}, sum by (le) (rate({histogram}_bucket[$__rate_interval])))",
        alias,
    )


def red(pattern: str) -> Override:
    """Series that a regular expression finds, in the colour of what is wrong."""
    return Override("byRegexp", pattern, {"color": {"mode": "fixed", "fixedColor": BAD}})


def hourly(field: str, alias: str) -> Target:
    """A field of `hourly_usage`."""
    query = f'SELECT "{field}" FROM "{HOURLY_USAGE.name}" WHERE $timeFilter'
    return daily(query, alias)
