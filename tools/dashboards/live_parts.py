"""Queries and parts that the dashboards of Asterisk share: one Asterisk or all, now or over time.

Every query is bounded in time, and one that groups by a tag of many values in series as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from collector.schema.live import ASTERISK, UNCERTAIN
from tools.dashboards.axes import of_counts
from tools.dashboards.colours import painted
from tools.dashboards.kinds import lines, stat
from tools.dashboards.meanings import GREEN, ORANGE, RED
from tools.dashboards.model import ASTERISK_LIVE, Dashboard, Json, Override, Panel, Target
from tools.dashboards.variables import asked

TAG: Final = "asterisk"
FLUSH: Final = "10s"
"""The default of COLLECTOR_STATSD_FLUSH: a finer interval has no more points."""
GAP_MS: Final = 120_000
"""Time without points over which no line is drawn."""
MOST_SERIES: Final = 20
"""Series that a panel draws at most, of a tag that may have hundreds of values."""
MOST_NAMES: Final = 500
"""Values that a variable offers at most."""

CHOSEN: Final = f'"{ASTERISK.name}" =~ /^${{asterisk:regex}}$/'
NOW: Final = "time > ${__to}ms - 2m AND time <= ${__to}ms"
"""The last 2 minutes of the chosen time."""
RECENT: Final = "time > ${__to}ms - 15m AND time <= ${__to}ms"
"""Its last quarter of an hour."""
LAST_HOUR: Final = "time > ${__to}ms - 1h AND time <= ${__to}ms"
"""Its last hour."""
_EACH: Final = "GROUP BY time($__interval)"

MAY_BE_WRONG: Final = ", may be wrong"
"""End of the name of a series of values that may be wrong."""
MARKED: Final = Override(
    "byRegexp",
    f"/{MAY_BE_WRONG}$/",
    {
        "color": {"mode": "fixed", "fixedColor": ORANGE},
        "custom.lineWidth": 4,
        "custom.fillOpacity": 0,
        "custom.lineStyle": {"fill": "dash", "dash": [4, 8]},
        # Each state would have such an entry: they would all look alike, and crowd the legend.
        "custom.hideFrom": {"legend": True, "tooltip": False, "viz": False},
    },
)
"""Thick orange dashes over the part of a line that may be wrong; named in the tooltip alone."""
_NAME_ABOVE: Final = 42
"""Height of a bar in pixels from which on Grafana puts its name above it instead of beside it."""


def live(query: str, alias: str = "", *, table: bool = False) -> Target:
    """A query of the live database."""
    return Target(ASTERISK_LIVE, query, alias, table)


def source(measurement: str, *conditions: str) -> str:
    """A measurement with the chosen Asterisks and these conditions."""
    return f'"{measurement}" WHERE {" AND ".join((*conditions, CHOSEN))}'


def total_now(measurement: str, field: str, *conditions: str, tags: Sequence[str] = ()) -> Target:
    """The sum of a field's last values over the chosen Asterisks and the values of `tags`."""
    by = ", ".join(f'"{tag}"' for tag in (ASTERISK.name, *tags))
    return live(
        f'SELECT sum("{field}") FROM (SELECT last("{field}") AS "{field}"'
        f" FROM {source(measurement, NOW, *conditions)} GROUP BY {by})"
    )


def _apart(measurement: str, field: str, alias: str, tags: Sequence[str], *where: str) -> Target:
    """A gauge over time, a series for each Asterisk and value of `tags`."""
    by = ", ".join(f'"{tag}"' for tag in (ASTERISK.name, *tags))
    return live(
        f'SELECT last("{field}") FROM {source(measurement, "$timeFilter", *where)}'
        f" {_EACH}, {by} SLIMIT {MOST_SERIES}",
        alias,
    )


_UNSURE: Final = f'"{UNCERTAIN}" >= 0'


def summed(
    measurement: str, field: str, tag: str, *conditions: str, within: Sequence[str] = ()
) -> tuple[Target, Target]:
    """A gauge over time by a tag of few values, and apart from it what may be wrong of it.

    Values are summed over the chosen Asterisks, and over the tags `within`, which set series apart.
    """
    by = ", ".join(f'"{each}"' for each in (ASTERISK.name, tag, *within))

    def target(alias: str, *where: str) -> Target:
        return live(
            f'SELECT sum("{field}") FROM (SELECT last("{field}") AS "{field}"'
            f" FROM {source(measurement, '$timeFilter', *where)} {_EACH}, {by} fill(none))"
            f' WHERE $timeFilter {_EACH}, "{tag}" SLIMIT {MOST_SERIES}',
            alias,
        )

    alias = f"$tag_{tag}"
    return (
        target(alias, *conditions),
        target(f"{alias}{MAY_BE_WRONG}", *conditions, _UNSURE),
    )


def apart(
    measurement: str, field: str, *conditions: str, tags: Sequence[str] = ()
) -> tuple[Target, Target]:
    """A gauge over time by Asterisk and `tags`, and apart from it what may be wrong of it."""
    alias = " ".join(f"$tag_{tag}" for tag in (ASTERISK.name, *tags))
    return (
        _apart(measurement, field, alias, tags, *conditions),
        _apart(measurement, field, f"{alias}{MAY_BE_WRONG}", tags, *conditions, _UNSURE),
    )


def per_minute(measurement: str, field: str, alias: str, *conditions: str, tag: str = "") -> Target:
    """What a field adds up to in a minute, over time; by `tag`, or all together."""
    by = f', "{tag}" fill(0) SLIMIT {MOST_SERIES}' if tag else " fill(0)"
    return live(
        f'SELECT sum("{field}") * 60000 / $__interval_ms'
        f" FROM {source(measurement, '$timeFilter', *conditions)} {_EACH}{by}",
        alias,
    )


def each(measurement: str, expression: str, tag: str, *conditions: str) -> Target:
    """An expression of aggregates over the whole chosen time, for each value of a tag."""
    return live(
        f"SELECT {expression} FROM {source(measurement, '$timeFilter', *conditions)}"
        f' GROUP BY "{tag}" SLIMIT {MOST_SERIES}',
        f"$tag_{tag}",
    )


def ratio(
    top: str, bottom: str, measurement: str, alias: str, *conditions: str, time: str, by: str = ""
) -> Target:
    """One sum of aggregates over another; nothing where the other is 0, which InfluxQL makes 0.

    `time` is the condition on time, with whose range `$timeFilter` gives a line. `by` is a tag.
    """
    step = ["time($__interval)"] if time == "$timeFilter" else []
    tag = [f'"{by}"'] if by else []
    inner = f" GROUP BY {', '.join((*step, *tag))}" if step or tag else ""
    outer = f" GROUP BY {tag[0]} SLIMIT {MOST_SERIES}" if tag else ""
    return live(
        'SELECT "top" / "bottom" AS "ratio" FROM'
        f' (SELECT {top} AS "top", {bottom} AS "bottom"'
        f" FROM {source(measurement, time, *conditions)}{inner})"
        f' WHERE "bottom" > 0{outer}',
        alias,
    )


def over_time(expression: str, measurement: str, alias: str, *conditions: str) -> Target:
    """An expression of aggregates over time, of all chosen Asterisks together."""
    return live(
        f"SELECT {expression} FROM {source(measurement, '$timeFilter', *conditions)} {_EACH}",
        alias,
    )


def figure(
    title: str,
    description: str,
    target: Target,
    *,
    width: int = 3,
    unit: str = "locale",
    colour: str = "blue",
    no_value: str = "none",
    steps: tuple[tuple[float | None, str], ...] = (),
    decimals: int | None = None,
) -> Panel:
    """One number of now, without a line behind it."""
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
        defaults={} if decimals is None else {"decimals": decimals},
    )


def drawn(
    title: str,
    description: str,
    *targets: Target,
    width: int = 8,
    height: int = 8,
    unit: str = "locale",
    overrides: tuple[Override, ...] = (),
    no_value: str = "none",
    stacked: bool = False,
    gap_ms: int = GAP_MS,
    interval: str = FLUSH,
    step: bool = False,
) -> Panel:
    """Series over time; what may be wrong of them is marked.

    `step`: each value holds until the next.
    """
    panel = lines(
        title,
        description,
        targets,
        width=width,
        height=height,
        unit=unit,
        overrides=(*overrides, MARKED),
        no_value=no_value,
        fill=60 if stacked else 0,
        step=step,
        stacked="normal" if stacked else "none",
        gap_ms=gap_ms,
        interval=interval,
    )
    return of_counts(panel) if unit == "locale" else panel


def no_trunk(panel: Panel) -> Panel:
    """The same series, of which those of the trunk `none` are called `no trunk`."""
    # Not an override of the name: other words may follow the trunk's.
    rename = ("renameByRegex", {"regex": "^none\\b(.*)", "renamePattern": "no trunk$1"})
    return replace(panel, transformations=(*panel.transformations, rename))


def long_names(panel: Panel) -> Panel:
    """The same bars with each name above its bar, whole; the list scrolls where it is too long."""
    return replace(panel, options={**panel.options, "minVizHeight": _NAME_ABOVE})


def quantiles(
    title: str, description: str, measurement: str, prefix: str, *conditions: str, no_value: str
) -> Panel:
    """The distribution of a time in s over time, from fields `PREFIX_p50`, `_p90` and `_max`."""
    return drawn(
        title,
        f"{description} Of several flushes: the median of medians, the 90th percentile of 90th"
        " percentiles, the longest.",
        over_time(f'median("{prefix}_p50")', measurement, "half under", *conditions),
        over_time(f'percentile("{prefix}_p90", 90)', measurement, "90 % under", *conditions),
        over_time(f'max("{prefix}_max")', measurement, "longest", *conditions),
        unit="s",
        overrides=(
            painted("half under", GREEN),
            painted("90 % under", ORANGE),
            painted("longest", RED),
        ),
        no_value=no_value,
        gap_ms=3_600_000,
        interval="5m",
    )


ONE_OR_ALL: Final[Json] = asked(
    "asterisk",
    "Asterisk",
    f'SHOW TAG VALUES WITH KEY = "{ASTERISK.name}" LIMIT {MOST_NAMES}',
    ASTERISK_LIVE,
    many=True,
)


def names(measurement: str, tag: str) -> str:
    """The query of a variable that offers a tag's values."""
    return f'SHOW TAG VALUES FROM "{measurement}" WITH KEY = "{tag}" LIMIT {MOST_NAMES}'


def live_board(
    uid: str,
    title: str,
    description: str,
    *rows: tuple[Panel, ...],
    variables: tuple[Json, ...] = (),
    range_: tuple[str, str] = ("now-3h", "now"),
) -> Dashboard:
    """A dashboard of the live database that reloads itself, of one Asterisk or all."""
    return Dashboard(
        uid=uid,
        title=title,
        description=description,
        file=f"ops/{uid}.json",
        tag=TAG,
        range=range_,
        refresh=FLUSH,
        refreshes=(FLUSH, "1m", "5m", "15m", "1h"),
        variables=(ONE_OR_ALL, *variables),
        rows=rows,
    )
