"""Panels of what is counted of servers for the whole network alone, and of who the sample is."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from collector.schema import (
    ALL,
    DAILY_SERVERS,
    DIMENSION,
    KERNEL,
    OTHER,
    UPTIME,
    VALUE,
    WEEKLY,
    WITHIN,
)
from tools.dashboards import queries as q
from tools.dashboards.breakdowns import Table
from tools.dashboards.colours import colours, painted
from tools.dashboards.kinds import WHOLE_ONLY, bars, daily, lines, stat, text
from tools.dashboards.palette import PLAIN, RING
from tools.dashboards.tables import greatest, shares

_SERVERS: Final = "Servers that reported on the last complete day, each by its last report"
_TALL: Final = 11
_DAYS: Final = "suffix: days"
_LOW: Final = 3
_HOURS: Final = 24
_NO_LIST: Final = "no node list in use"


def _by(dimension: str) -> Table:
    """Servers by the values of a dimension that is counted for the whole network alone."""
    return Table(
        DAILY_SERVERS,
        split=VALUE.name,
        name=DIMENSION.name,
        where=f"\"{DIMENSION.name}\" = '{dimension}' AND \"{WITHIN.name}\" = '{ALL}' AND {q.WHOLE}",
        done=q.DONE,
        variable=f"greatest_{dimension}",
        rest_names=dimension,
    )


SERVER_TABLES: Final = (_by(KERNEL), _by(UPTIME))
"""The tables whose shares are drawn; a dashboard with `SERVER_ROWS` must list them."""
_BY_KERNEL, _BY_UPTIME = SERVER_TABLES


def _median(time: str) -> str:
    """The median uptime in days, by day."""
    return _computed("uptime_median", f'"uptime_median" / {_HOURS}', time)


def _computed(field: str, expression: str, time: str) -> str:
    """An expression of a field of `daily_usage` by day, for the whole network alone."""
    return q.usage(field, time).replace(f'"{field}"', expression, 1)


def _kernels(*, other: bool, time: str, weekly: bool = False) -> str:
    """Servers by series of their kernel and day: the greatest of the range, or `other` alone."""
    unit = _BY_KERNEL.unit
    counted = f'"{WEEKLY.name}" AS "{unit}"' if weekly else f'"{unit}"'
    done = () if weekly else (_BY_KERNEL.done,)
    chosen = f"=~ /^${{{_BY_KERNEL.variable}:regex}}$/"
    values = f"\"{VALUE.name}\" = '{OTHER}'" if other else f"\"{VALUE.name}\" != '{OTHER}'"
    conditions = [time, *done, _BY_KERNEL.where, values]
    if not other and time != q.LAST_DAY:
        conditions.append(f'"{VALUE.name}" {chosen}')
    where = " AND ".join(conditions)
    return f'SELECT {counted} FROM "{DAILY_SERVERS.name}" WHERE {where} GROUP BY "{VALUE.name}"'


# Grafana takes a text such as `6.10` in a table for a number: as a series' name it stays a text.
_KERNEL: Final = "Linux $tag_value"

SERVER_ROWS: Final = (
    (
        bars(
            "Servers by kernel series, last full day",
            f"{_SERVERS}, by the first two numbers of the kernel's release, as `6.6`.",
            (
                daily(_kernels(other=False, time=q.LAST_DAY), _KERNEL, whole=True),
                daily(_kernels(other=True, time=q.LAST_DAY), OTHER, whole=True),
            ),
            (*colours(KERNEL), painted("Linux unknown", PLAIN)),
            width=10,
            height=_TALL,
            no_value=WHOLE_ONLY,
        ),
        greatest(
            "Servers by uptime, last full day",
            f"{_SERVERS}, by the time since Asterisk started: less than 24 hours, up to 30 days,"
            " or longer; `unknown` did not say.",
            _BY_UPTIME,
            colours(UPTIME),
            width=8,
            whole=True,
            no_value=WHOLE_ONLY,
            height=_TALL,
        ),
        stat(
            "Servers: median uptime, last full day",
            "The median time since Asterisk started, of the servers that said it.",
            daily(_median(q.LAST_DAY), "median", whole=True),
            width=6,
            height=_TALL,
            unit=_DAYS,
            colour=RING[0],
            line=False,
            size=22,
            no_value=WHOLE_ONLY,
            defaults={"decimals": 1},
        ),
    ),
    (
        lines(
            "Servers by kernel series, each day",
            "Servers that reported on the day by the series of their kernel: the ten greatest of"
            " the chosen time, and in the dark grey `other` the values of too few servers. Of more"
            " than 370 days every Sunday is drawn.",
            (
                *(
                    daily(_kernels(other=other, time=time, weekly=weekly), alias, whole=True)
                    for other, alias in ((False, _KERNEL), (True, OTHER))
                    for time, weekly in ((q.SHORT, False), (q.LONG, True))
                ),
            ),
            width=24,
            height=10,
            fill=0,
            overrides=(*colours(KERNEL), painted("Linux unknown", PLAIN)),
            no_value=WHOLE_ONLY,
        ),
    ),
    (
        shares(
            "Servers by uptime, share of each day",
            "Share of the servers that reported on the day. `0-24h` rises on days after an update"
            " that starts Asterisk again.",
            _BY_UPTIME,
            colours(UPTIME),
            width=12,
            whole=True,
            no_value=WHOLE_ONLY,
        ),
        lines(
            "Servers: median uptime, each day",
            "The median time since Asterisk started, of the servers that said it.",
            (daily(_median(q.IN_RANGE), "median", whole=True),),
            width=12,
            height=10,
            unit=_DAYS,
            no_value=WHOLE_ONLY,
            step=True,
        ),
    ),
)

SAMPLE_ROW: Final = (
    replace(
        text(
            '<div style="font-size:12px;line-height:1.3">Only servers that send reports are'
            " counted: not those without AllStarLink's telemetry or with it switched off, no"
            " private nodes, and, where a node list is used, no nodes that are not on it.</div>",
            height=_LOW,
        ),
        width=12,
    ),
    stat(
        "Nodes listed, full day",
        "Public nodes on AllStarLink's node list, as the list was on the last complete day.",
        daily(q.usage("listed_nodes", q.LAST_DAY), "listed", whole=True),
        width=4,
        height=_LOW,
        colour="text",
        line=False,
        no_value=_NO_LIST,
    ),
    stat(
        "Nodes heard, 30-day share",
        "The part of the listed nodes that were reported at least once in the 30 days up to the"
        " last complete day.",
        daily(
            _computed("coverage", '100 * "coverage" / "listed_nodes"', q.LAST_DAY),
            "heard",
            whole=True,
        ),
        width=4,
        height=_LOW,
        unit="percent",
        colour=RING[0],
        line=False,
        no_value=_NO_LIST,
        defaults={"decimals": 1},
    ),
    stat(
        "Reports dropped, full day",
        "Reports of the last complete day that were dropped because their owners have opted out,"
        " down to a multiple of the least count that is published.",
        daily(q.usage("opted_out_reports", q.LAST_DAY), "dropped", whole=True),
        width=4,
        height=_LOW,
        colour="text",
        line=False,
        no_value="few or none",
    ),
)
"""Who the sample is, under the headline numbers."""
