"""Panels of published tables: the greatest values as bars, and the shares of all over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from collector.schema import OTHER
from tools.dashboards.breakdowns import MOST_BARS, VALUE, Table
from tools.dashboards.colours import REST
from tools.dashboards.kinds import COUNT, LAST, NOT_COUNTED, VERY_LAST, daily, lines
from tools.dashboards.model import Override, Panel, Target
from tools.dashboards.palette import PALE, RING
from tools.dashboards.queries import IN_RANGE, LAST_DAY, LONG, SHORT

_BAR: Final = 26
"""Height of a bar with its distance from the next, in px."""


def greatest(
    title: str,
    description: str,
    table: Table,
    overrides: tuple[Override, ...],
    *,
    width: int,
    most: int = MOST_BARS,
    unit: str = COUNT,
    no_value: str = NOT_COUNTED,
    day: str = LAST_DAY,
    whole: bool = False,
    height: int = 0,
) -> Panel:
    """The greatest values of a day as bars; then the rest as one, and `other`.

    `height` is given where a neighbour needs more than the bars do.
    """
    rest = _rest(table, "${__field.labels.count} more")
    return Panel(
        kind="bargauge",
        title=title,
        description=description,
        width=width,
        height=max(height, rows_of_bars(most + 2)),
        targets=tuple(daily(query, table=True, whole=whole) for query in table.bars(day, most)),
        unit=unit,
        no_value=no_value,
        defaults={
            "min": 0,
            "color": {"mode": "fixed", "fixedColor": RING[0]},
            # A bar that is alone would have no name.
            "displayName": "${__field.name}",
        },
        overrides=(*overrides, rest),
        transformations=(
            ("organize", {"excludeByName": {"Time": True}, "renameByName": {}, "indexByName": {}}),
            ("sortBy", {"fields": {}, "sort": [{"field": table.unit, "desc": True}]}),
            # In the order of the queries.
            ("merge", {}),
            (
                "rowsToFields",
                {
                    "mappings": [
                        {"fieldName": VALUE, "handlerKey": "field.name"},
                        {"fieldName": table.unit, "handlerKey": "field.value"},
                    ]
                },
            ),
            # This step also gives each bar the name that the overrides look for.
            (
                "organize",
                {"excludeByName": {}, "renameByName": {}, "indexByName": {OTHER: VERY_LAST}},
            ),
        ),
        options={
            # Of one colour: the whole bar, where the basic form has a third of its strength.
            "displayMode": "gradient",
            "orientation": "horizontal",
            "showUnfilled": False,
            "minVizWidth": 0,
            "minVizHeight": 10,
            "reduceOptions": LAST,
            # By itself it grows with the panel until it pushes the bars aside.
            "text": {"titleSize": 12, "valueSize": 14},
        },
    )


def rows_of_bars(count: int) -> int:
    """Rows of the grid (38 px each, of which 58 of a panel are its frame) for so many bars."""
    return -(-(_BAR * count + 58) // 38)


def _rest(table: Table, shown: str) -> Override:
    """The rest, which bears the name of its table."""
    return Override(
        "byRegexp",
        table.is_rest,
        {"displayName": shown, "color": {"mode": "fixed", "fixedColor": PALE}},
    )


def by_day(table: Table, *, weekly: bool = True, whole: bool = False) -> tuple[Target, ...]:
    """The values of a table by day: the greatest, the rest together, `other`.

    With `weekly`, of a range much longer than a year, one day a week is read.
    """
    ranges = ((SHORT, False), (LONG, True)) if weekly else ((IN_RANGE, False),)
    return tuple(
        daily(part(time, weekly=sundays), table=True, whole=whole)
        for part in (table.chosen, table.rest, table.other)
        for time, sundays in ranges
    )


def on_log(
    title: str,
    description: str,
    table: Table,
    overrides: tuple[Override, ...],
    *,
    width: int,
    height: int = 9,
    no_value: str = NOT_COUNTED,
) -> Panel:
    """The greatest values of a table by day as lines, on a scale on which small ones are seen.

    The dashboard must have the variable of the table's greatest values.
    """
    targets = tuple(
        daily(table.chosen(time, weekly=sundays), table=True)
        for time, sundays in ((SHORT, False), (LONG, True))
    )
    # Grafana would write the words for no data at each step of the scale that has no number.
    unwritten = Override("byType", "number", {"noValue": ""})
    drawn = lines(
        title,
        description,
        targets,
        width=width,
        height=height,
        fill=0,
        overrides=(unwritten, *overrides),
        no_value=no_value,
        defaults={"min": 1, "decimals": 0},
        logarithmic=True,
    )
    return replace(drawn, transformations=_by_size(table))


def shares(
    title: str,
    description: str,
    table: Table,
    overrides: tuple[Override, ...],
    *,
    width: int,
    height: int = 10,
    weekly: bool = True,
    whole: bool = False,
    no_value: str = NOT_COUNTED,
) -> Panel:
    """The share of each value of a table, day by day; all of a day make 100 %.

    The greatest value of the last day is at the bottom, then the others by size, the rest of them
    together, and `other`. The dashboard must have the variable of the table's greatest values.
    """
    stacked = lines(
        title,
        description,
        by_day(table, weekly=weekly, whole=whole),
        width=width,
        height=height,
        overrides=(*overrides, _rest(table, REST)),
        no_value=no_value,
        # Steps would end in a slope: a stacked area is closed on its last point.
        stacked="percent",
    )
    return replace(stacked, transformations=_by_size(table))


def _by_size(table: Table) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """A column for each value, in the order of size on the last day that has it."""
    day = f"Time\\{VALUE}"
    return (
        ("sortBy", {"fields": {}, "sort": [{"field": table.unit, "desc": True}]}),
        ("sortBy", {"fields": {}, "sort": [{"field": "Time", "desc": True}]}),
        ("merge", {}),
        (
            "groupingToMatrix",
            {
                "columnField": VALUE,
                "rowField": "Time",
                "valueField": table.unit,
                "emptyValue": "null",
            },
        ),
        (
            "convertFieldType",
            {
                "fields": {},
                "conversions": [{"targetField": day, "destinationType": "time"}],
            },
        ),
        ("sortBy", {"fields": {}, "sort": [{"field": day}]}),
    )
