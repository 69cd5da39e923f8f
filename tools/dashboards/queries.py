"""InfluxQL of the community's panels: filtered, never past the last complete day."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from collector.rollup.inputs import FINAL_AFTER
from collector.rollup.schedule import EVERY
from collector.schema import (
    ALL,
    CONTAINED,
    DAILY_NODES,
    DAILY_PACKAGES,
    DAILY_UPGRADES,
    DAILY_USAGE,
    DIMENSION,
    FINAL,
    NODE_DIMENSIONS,
    NONE,
    OTHER,
    UNKNOWN,
    VALUE,
    WITHIN,
    WITHIN_VALUE,
    Measurement,
)
from tools.dashboards.breakdowns import Table

COMPLETE_AFTER: Final = int((timedelta(days=1) + FINAL_AFTER + EVERY) / timedelta(minutes=1))
"""Minutes after its start when a day has been computed as final."""
OVER: Final = f"now() - {COMPLETE_AFTER}m"
IN_RANGE: Final = f"$timeFilter AND time < {OVER}"
"""The dashboard's range as far as days are complete: an open day is never drawn as a drop."""
_LONG_MS: Final = 370 * 86_400_000
SHORT: Final = f"{IN_RANGE} AND $__to - $__from <= {_LONG_MS}"
"""The range, where it is hardly more than a year: every day of it is drawn."""
LONG: Final = f"{IN_RANGE} AND $__to - $__from > {_LONG_MS}"
"""A longer range: one day a week is drawn, for which `weekly` alone is read."""
LAST_DAY: Final = f"time >= {OVER} - 1d AND time < {OVER}"
"""The last complete day, whatever the range."""
WHOLE: Final = f"'$within' = '{ALL}'"
"""True without the filter: of what is counted for the whole network alone."""

DONE: Final = f'"{FINAL.name}" = 1'
"""Of days that were finished: one at which the rollup stopped is over, and not whole."""
A_VERSION: Final = f"\"{VALUE.name}\" != '{OTHER}' AND \"{VALUE.name}\" != '{UNKNOWN}'"
_FILTER: Final = (
    f"\"{WITHIN.name}\" = '$within' AND \"{WITHIN_VALUE.name}\" = '${{within_value:raw}}'"
)
HISTORY: Final = "400d"
# Wider than within: InfluxDB gives nothing where the first day begins before the range.
AROUND_HISTORY: Final = f"time >= now() - {HISTORY} - 100d AND time < now()"
_OVER_DAYS: Final = 1000
"""More than the days of the history, to carry them in one number with nodes."""


def of(dimension: str) -> str:
    """Rows of a dimension's table under the filter.

    A dimension is not crossed with itself nor with what contains it. Filtered by itself it shows
    the one value; a container filtered by what it contains, that value; what is contained filtered
    by its container, the values that begin with the container's name.
    """
    own = f"\"{DIMENSION.name}\" = '{dimension}'"
    everywhere = f"\"{WITHIN.name}\" = '{ALL}'"
    same = f"\"{DIMENSION.name}\" = '$within' AND \"{VALUE.name}\" = '${{within_value:raw}}'"
    ways = [f"({own} AND {_FILTER})", f"({own} AND {everywhere} AND {same})"]
    for child, parent in CONTAINED.items():
        if dimension == child:
            ways.append(
                f'({own} AND {everywhere} AND "{VALUE.name}" =~ /^${{within_value:regex}} /)'
            )
        if dimension == parent:
            ways.append(f"(\"{DIMENSION.name}\" = '{child}' AND {everywhere} AND {same})")
    return "(" + " OR ".join(ways) + ")"


def nodes_by(dimension: str) -> Table:
    """Nodes by the values of a dimension, under the filter."""
    return Table(
        DAILY_NODES,
        split=VALUE.name,
        name=DIMENSION.name,
        where=of(dimension),
        done=DONE,
        variable=f"greatest_{dimension}",
        rest_names="|".join(NODE_DIMENSIONS),
    )


def total(counted: Measurement = DAILY_NODES, time: str = IN_RANGE) -> str:
    """All units by day: every table of the whole network sums to this number."""
    return f'SELECT "{counted.fields[0].name}" FROM {_whole(time)}'


def filtered(counted: Measurement = DAILY_NODES, time: str = IN_RANGE) -> str:
    """The units that have the filter's value, by day: every table of the filter sums to this."""
    return f'SELECT "{counted.fields[0].name}" FROM {_having(counted, time)}'


def change(days: int, *, whole: bool) -> str:
    """Per cent gained or lost from `days` before the last complete day to that day."""
    time = f"time >= {OVER} - {days + 1}d AND time < {OVER}"
    source = _whole(time) if whole else _having(DAILY_NODES, time)
    return f'SELECT 100 * (last("nodes") - first("nodes")) / first("nodes") FROM {source}'


def _whole(time: str) -> str:
    # A day that was imported has headline numbers, but no tables that they are the sum of.
    return f'"{DAILY_USAGE.name}" WHERE {time} AND {DONE} AND "node_reports" >= 0 AND {WHOLE}'


def _having(counted: Measurement, time: str) -> str:
    return (
        f'"{counted.name}" WHERE {time} AND {DONE} AND "{DIMENSION.name}" = \'$within\''
        f" AND \"{VALUE.name}\" = '${{within_value:raw}}' AND \"{WITHIN.name}\" = '{ALL}'"
    )


def usage(field: str, time: str = IN_RANGE, *, final: bool = True) -> str:
    """A field of `daily_usage` by day, for the whole network alone."""
    condition = f" AND {DONE}" if final else ""
    return f'SELECT "{field}" FROM "{DAILY_USAGE.name}" WHERE {time}{condition} AND {WHOLE}'


def wider(window: str, than: str) -> str:
    """A field of several days by day, where it is over 5 % more than that of fewer."""
    return usage(window, f'{IN_RANGE} AND "{window}" > 1.05 * "{than}"')


def newcomers() -> str:
    """New nodes by day; no day on which over half are: then counting began, and nothing else."""
    # Its height would make a flat line of all other days.
    return usage("new_nodes", f'{IN_RANGE} AND "new_nodes" < 0.5 * "nodes"')


def freshness() -> str:
    """The last day that is final; its time is the answer, whatever the range and the filter."""
    return f'SELECT last("nodes") FROM "{DAILY_USAGE.name}" WHERE time < now() AND {DONE}'


def ages(dimension: str) -> str:
    """Of each version in use on the last complete day: days seen so far, and nodes."""
    # Both in one number: InfluxDB would compute all of it again for each column of each level.
    days, now = (
        f'(SELECT {number} AS "both" FROM "{DAILY_NODES.name}" WHERE {time} AND {DONE}'
        f' AND {A_VERSION} AND {of(dimension)} GROUP BY "{VALUE.name}")'
        for number, time in (
            ('count("nodes")', f"time >= now() - {HISTORY} AND time < {OVER}"),
            (f'{_OVER_DAYS} * sum("nodes")', LAST_DAY),
        )
    )
    both = (
        f'SELECT sum("both") AS "both" FROM {days}, {now} WHERE {AROUND_HISTORY}'
        f' GROUP BY "{VALUE.name}"'
    )
    return (
        f"SELECT {apart('nodes', 'days', _OVER_DAYS)} FROM ({both})"
        f' WHERE "both" >= {_OVER_DAYS} GROUP BY "{VALUE.name}"'
    )


def apart(high: str, low: str, place: int) -> str:
    """The two numbers of which one was made: `high * place + low`."""
    return f'("both" - "both" % {place}) / {place} AS "{high}", "both" % {place} AS "{low}"'


def upgrades() -> str:
    """Nodes that went from one version to another in the range; small flows are `other`."""
    return (
        f'SELECT sum("nodes") AS "nodes" FROM "{DAILY_UPGRADES.name}" WHERE {IN_RANGE} AND {DONE}'
        f' AND {WHOLE} GROUP BY "from_version", "to_version"'
    )


def servers_by(tag: str) -> Table:
    """Servers by `version` or `upstream` version of the chosen package."""
    return Table(
        DAILY_PACKAGES,
        split=tag,
        name="package",
        where=f"\"package\" = '${{package:raw}}' AND {WHOLE}",
        done=DONE,
        variable=f"greatest_{tag}",
        # A package's name begins with a letter, and its versions with digits.
        rest_names=f"(?!({OTHER}|{NONE})$)[a-z][^ ]*",
        summed=tag == "upstream",
    )


def packages() -> str:
    """Servers that have each package, on the last complete day."""
    return (
        f'SELECT sum("servers") FROM "{DAILY_PACKAGES.name}" WHERE {LAST_DAY} AND {DONE}'
        f' AND "version" != \'{NONE}\' AND {WHOLE} GROUP BY time(1d), "package" fill(none)'
    )


def values_within() -> str:
    """Values that the filter may be narrowed to, for the variable."""
    return (
        f'SHOW TAG VALUES FROM "{DAILY_NODES.name}" WITH KEY = "{WITHIN_VALUE.name}"'
        f" WHERE \"{WITHIN.name}\" = '$within'"
    )


def package_names() -> str:
    """Packages that are published, for the variable."""
    return f'SHOW TAG VALUES FROM "{DAILY_PACKAGES.name}" WITH KEY = "package"'
