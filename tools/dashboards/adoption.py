"""How new versions spread: the share of each by the days since it was first seen.

Grafana 9.3 draws curves over time alone. So every curve is moved to begin on the first day of the
newest version: its own days are true, and each other curve shows what that version had reached as
many days after its own first day.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from collector.schema import DAILY_NODES, DIMENSION, VALUE, Tag
from tools.dashboards import queries as q
from tools.dashboards.breakdowns import VALUE as NAME
from tools.dashboards.colours import colours
from tools.dashboards.kinds import daily, lines
from tools.dashboards.model import USAGE_DAILY, Json, Override, Panel
from tools.dashboards.variables import asked

_RECENT: Final = "recent_versions"
_NEWEST: Final = "newest_version"
_AGE: Final = "newest_days"
_MOST: Final = 6
"""Curves, the newest included."""
_LEAST_DAYS: Final = 14
"""Days after which a version has a curve."""
_WHOLE: Final = 10_000
"""Shares are carried in hundredths of a per cent: an integer under this number."""
_TENTH: Final = _WHOLE // 10
"""A version that began with more was there before counting, and one without it has not risen."""
_OUT: Final = 10**6
"""More than all days: what is added to the days of a version that has no curve."""
_DAY_MS: Final = 86_400_000


def _shares(dimension: str, time: str, *conditions: str) -> str:
    every = " AND ".join((time, q.DONE, q.A_VERSION, *conditions, q.of(dimension)))
    return (
        f'(SELECT {_WHOLE} * "nodes" / "total" AS "share" FROM "{DAILY_NODES.name}"'
        f' WHERE {every} GROUP BY "{VALUE.name}", "{DIMENSION.name}")'
    )


def _history(dimension: str, *conditions: str) -> str:
    return _shares(dimension, f"time >= now() - {q.HISTORY} AND time < {q.OVER}", *conditions)


def _days(dimension: str, most: int) -> str:
    """The versions in use with the fewest days since they were first seen, and those days."""
    by = f'GROUP BY "{VALUE.name}"'
    history = _history(dimension)
    parts = (
        f'(SELECT elapsed("share", 1d) AS "days" FROM {history} {by})',
        # Not in use, unless it has a row on the last day.
        f'(SELECT 0 * first("share") + {_OUT} AS "days" FROM {history} {by})',
        f'(SELECT 0 * "share" - {_OUT} AS "days" FROM {_shares(dimension, q.LAST_DAY)} {by})',
        f'(SELECT 0 * "first" + {_OUT} AS "days" FROM (SELECT first("share") AS "first"'
        f' FROM {history} {by}) WHERE "first" > {_TENTH} {by})',
        f'(SELECT 0 * "peak" + {_OUT} AS "days" FROM (SELECT max("share") AS "peak"'
        f' FROM {history} {by}) WHERE "peak" <= {_TENTH} {by})',
    )
    summed = f'SELECT sum("days") AS "days" FROM {", ".join(parts)} WHERE {q.AROUND_HISTORY} {by}'
    return (
        f'SELECT bottom("days", "{VALUE.name}", {most}) AS "days" FROM ({summed})'
        f' WHERE "days" >= {_LEAST_DAYS} AND "days" < {_OUT}'
    )


def variables(dimension: Tag) -> tuple[Json, ...]:
    """Hidden variables: the recent versions, the newest of them, and its days."""
    recent, newest = _days(dimension.name, _MOST), _days(dimension.name, 1)
    return tuple(
        asked(name, "", f'SELECT "{column}", "days" FROM ({query})', USAGE_DAILY, hidden=True)
        for name, column, query in (
            (_RECENT, VALUE.name, recent),
            (_NEWEST, VALUE.name, newest),
            (_AGE, "days", newest),
        )
    )


def _curves(dimension: str, chosen: str, by: str) -> str:
    """Rows of a version's share by day since it was first seen, and the moment to draw it at."""
    history = _history(dimension, f'"{VALUE.name}" =~ /^${{{chosen}:regex}}$/')
    # A day's number and its share in one number: a sum of one step a day, the first from nothing.
    steps = (
        f'(SELECT first("share") AS "both" FROM {history} GROUP BY {by}),'
        f' (SELECT elapsed("share", 1d) * {_OUT} + difference("share") AS "both" FROM {history}'
        f" GROUP BY {by})"
    )
    both = f'SELECT cumulative_sum("both") AS "both" FROM {steps} WHERE {q.AROUND_HISTORY}'
    # The range ends with the last day, which is the newest version's last too.
    moment = f"$__to - $__to % {_DAY_MS} - {_DAY_MS} * ${{{_AGE}:raw}}"
    return (
        f'SELECT ("both" - "both" % {_OUT}) / {_OUT} * {_DAY_MS} + {moment} AS "moment",'
        f' ("both" % {_OUT}) / 100.0 AS "share", {by} AS "{NAME}"'
        f' FROM ({both} GROUP BY {by}) WHERE "both" < {_OUT} * (${{{_AGE}:raw}} + 1)'
    )


def adoption(dimension: Tag, title: str, *, width: int, height: int) -> Panel:
    """Curves of the recent versions, the newest drawn again in the colour of text."""
    panel = lines(
        title,
        "For each AllStarLink version its share of the nodes by the days since it was first seen,"
        " under the filter. The thick line is the newest version that has been seen for two weeks,"
        " on its own days; the others are moved to begin with it. Shown are at most six versions"
        " in use, first seen in the last 400 days since counting began, that have reached 10 %.",
        (
            daily(_curves(dimension.name, _RECENT, f'"{VALUE.name}"'), table=True),
            daily(_curves(dimension.name, _NEWEST, f'"{DIMENSION.name}"'), table=True),
        ),
        width=width,
        height=height,
        unit="percent",
        no_value="no version that is new under this filter",
        fill=0,
        overrides=(
            *colours(dimension.name),
            Override(
                "byName",
                dimension.name,
                {
                    "displayName": "the newest",
                    "color": {"mode": "fixed", "fixedColor": "text"},
                    "custom.lineWidth": 4,
                },
            ),
        ),
    )
    return _over_days(panel)


def _over_days(panel: Panel) -> Panel:
    moment = f"moment\\{NAME}"
    steps: tuple[tuple[str, dict[str, Any]], ...] = (
        (
            "organize",
            {
                "excludeByName": {"Time": True},
                "renameByName": {},
                "indexByName": {},
            },
        ),
        ("merge", {}),
        (
            "groupingToMatrix",
            {
                "columnField": NAME,
                "rowField": "moment",
                "valueField": "share",
                "emptyValue": "null",
            },
        ),
        (
            "convertFieldType",
            {"fields": {}, "conversions": [{"targetField": moment, "destinationType": "time"}]},
        ),
        ("sortBy", {"fields": {}, "sort": [{"field": moment}]}),
    )
    return replace(panel, transformations=steps, last=f"${{{_AGE}:raw}}d")
