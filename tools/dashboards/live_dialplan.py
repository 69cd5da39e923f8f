"""What the dialplan sends by StatsD(), chosen by variables."""

from __future__ import annotations

from typing import Final

from collector.schema.live import STATSD_COUNTER, STATSD_GAUGE, STATSD_TIMER
from tools.dashboards.kinds import lines
from tools.dashboards.live_parts import (
    FLUSH,
    GAP_MS,
    MARKED,
    MOST_SERIES,
    apart,
    names,
    per_minute,
    ratio,
)
from tools.dashboards.model import ASTERISK_LIVE, Json, Panel, Target
from tools.dashboards.variables import asked

_GAUGE: Final = '"name" =~ /^${gauge:regex}$/'
_TIMER: Final = '"name" =~ /^${timer:regex}$/'


def _dialplan(title: str, description: str, targets: tuple[Target, ...], unit: str) -> Panel:
    return lines(
        title,
        f"{description} At most {MOST_SERIES} are drawn.",
        targets,
        width=8,
        # The legend names up to 20 series.
        height=10,
        unit=unit,
        overrides=(MARKED,),
        no_value="nothing was sent",
        gap_ms=GAP_MS,
        interval=FLUSH,
    )


ROW: Final = (
    _dialplan(
        "Gauges of the dialplan: $gauge",
        "Gauges that the dialplan sends, such as a conference's users; chosen above.",
        apart(STATSD_GAUGE.name, "value", _GAUGE, tags=("name",)),
        "locale",
    ),
    _dialplan(
        "Counters of the dialplan a minute: $counter",
        "Counters that the dialplan sends, a minute; chosen above.",
        (
            per_minute(
                STATSD_COUNTER.name,
                "value",
                "$tag_name",
                '"name" =~ /^${counter:regex}$/',
                tag="name",
            ),
        ),
        "locale",
    ),
    _dialplan(
        "Timers of the dialplan, mean: $timer",
        "Mean of times that the dialplan sends; chosen above.",
        (
            ratio(
                'sum("sum")',
                'sum("count")',
                STATSD_TIMER.name,
                "$tag_name",
                _TIMER,
                time="$timeFilter",
                by="name",
            ),
        ),
        "ms",
    ),
)
"""A row of panels."""
VARIABLES: Final[tuple[Json, ...]] = (
    asked("gauge", "Gauge", names(STATSD_GAUGE.name, "name"), ASTERISK_LIVE, many=True),
    asked("counter", "Counter", names(STATSD_COUNTER.name, "name"), ASTERISK_LIVE, many=True),
    asked("timer", "Timer", names(STATSD_TIMER.name, "name"), ASTERISK_LIVE, many=True),
)
