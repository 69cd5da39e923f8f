"""Kinds of panels: each look is made here, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from collector.schema import OTHER
from tools.dashboards.model import USAGE_DAILY, Override, Panel, Target

COUNT: Final = "locale"
WHOLE_ONLY: Final = "whole network only"
NOT_COUNTED: Final = "not under this filter"

LAST: Final = {"calcs": ["lastNotNull"], "fields": "", "values": False}
# After every place that a column takes by itself: Grafana gives those the greatest safe integer.
VERY_LAST: Final = 1e300


def daily(query: str, alias: str = "", *, table: bool = False, whole: bool = False) -> Target:
    """A query of the published series."""
    return Target(USAGE_DAILY, query, alias, table, whole)


def text(content: str, height: int = 2) -> Panel:
    """A sentence over the whole width, without a frame's title."""
    return Panel(
        kind="text",
        title="",
        description="",
        width=24,
        height=height,
        options={"mode": "html", "content": content},
    )


def stat(
    title: str,
    description: str,
    *targets: Target,
    width: int,
    height: int = 4,
    unit: str = COUNT,
    colour: str = "blue",
    line: bool = True,
    no_value: str = "",
    fields: str = "",
    steps: tuple[tuple[float | None, str], ...] = (),
    defaults: Mapping[str, Any] | None = None,
    size: int = 0,
) -> Panel:
    """One number, with the line of its days behind it; `steps` colour it by its value.

    `size` is the height of its letters in px; by itself it grows with the panel.
    """
    painted = {"mode": "thresholds"} if steps else {"mode": "fixed", "fixedColor": colour}
    return Panel(
        kind="stat",
        title=title,
        description=description,
        width=width,
        height=height,
        targets=targets,
        unit=unit,
        no_value=no_value,
        steps=steps or ((None, colour),),
        defaults={"color": painted, **(defaults or {})},
        options={
            "colorMode": "value",
            "graphMode": "area" if line else "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "reduceOptions": {**LAST, "fields": fields},
            "textMode": "value" if fields else "auto",
            **({"text": {"valueSize": size}} if size else {}),
        },
    )


def bars(
    title: str,
    description: str,
    targets: tuple[Target, ...],
    overrides: tuple[Override, ...],
    *,
    width: int,
    height: int = 8,
    unit: str = COUNT,
    no_value: str = NOT_COUNTED,
) -> Panel:
    """The last number of each series as a bar, greatest first, `other` at the end."""
    return Panel(
        kind="bargauge",
        title=title,
        description=description,
        width=width,
        height=height,
        targets=targets,
        unit=unit,
        no_value=no_value,
        defaults={
            "min": 0,
            "color": {"mode": "fixed", "fixedColor": "blue"},
            # A bar that is alone would have no name.
            "displayName": "${__field.name}",
        },
        overrides=overrides,
        transformations=(
            ("reduce", {"reducers": ["lastNotNull"], "mode": "seriesToRows"}),
            ("sortBy", {"fields": {}, "sort": [{"field": "Last *", "desc": True}]}),
            ("rowsToFields", {}),
            (
                "organize",
                {"excludeByName": {}, "renameByName": {}, "indexByName": {OTHER: VERY_LAST}},
            ),
        ),
        options={
            "displayMode": "gradient",
            "orientation": "horizontal",
            "showUnfilled": False,
            "minVizWidth": 0,
            "minVizHeight": 10,
            "reduceOptions": LAST,
            # By itself it grows with the panel until it pushes the bars aside.
            "text": {"titleSize": 12, "valueSize": 16},
        },
    )


def lines(
    title: str,
    description: str,
    targets: tuple[Target, ...],
    *,
    width: int,
    height: int = 8,
    unit: str = COUNT,
    overrides: tuple[Override, ...] = (),
    no_value: str = "",
    fill: int = 10,
    step: bool = False,
    stacked: str = "none",
    legend: str = "bottom",
    defaults: Mapping[str, Any] | None = None,
    gap_ms: int = 0,
    interval: str = "",
    logarithmic: bool = False,
) -> Panel:
    """Series over time. `stacked`: none, normal or percent. `step`: a value holds for its day.

    A line goes on over missing values of less than `gap_ms`. `interval` is the least `$__interval`.
    """
    shares = stacked == "percent"
    table = legend == "right"
    scale = {"type": "log", "log": 10} if logarithmic else {"type": "linear"}
    return Panel(
        kind="timeseries",
        title=title,
        description=description,
        width=width,
        height=height,
        targets=targets,
        unit=unit,
        no_value=no_value,
        defaults={
            "min": 0,
            "color": {"mode": "palette-classic"},
            "custom": {
                "drawStyle": "line",
                "lineInterpolation": "stepAfter" if step else "linear",
                "lineWidth": 0 if shares else 1,
                "fillOpacity": 100 if shares else fill,
                "gradientMode": "none",
                "showPoints": "never",
                "spanNulls": gap_ms or False,
                "stacking": {"group": "A", "mode": stacked},
                "axisPlacement": "auto",
                "axisLabel": "",
                "scaleDistribution": scale,
                "thresholdsStyle": {"mode": "off"},
                "hideFrom": {"legend": False, "tooltip": False, "viz": False},
            },
            **(defaults or {}),
        },
        overrides=overrides,
        options={
            "legend": {
                "showLegend": True,
                "displayMode": "table" if table else "list",
                "placement": legend,
                "calcs": ["lastNotNull"] if table else [],
            },
            "tooltip": {"mode": "multi", "sort": "none"},
        },
        interval=interval,
    )


def table(
    title: str,
    description: str,
    target: Target,
    *,
    width: int,
    height: int,
    names: Mapping[str, str],
    sort: str,
    no_value: str = NOT_COUNTED,
    unit: str = COUNT,
) -> Panel:
    """Rows of a query under other names for its columns, sorted down by one; without times."""
    return Panel(
        kind="table",
        title=title,
        description=description,
        width=width,
        height=height,
        targets=(target,),
        unit=unit,
        no_value=no_value,
        defaults={
            "color": {"mode": "fixed", "fixedColor": "text"},
            # Three columns on a phone.
            "custom": {"align": "auto", "filterable": False, "inspect": False, "minWidth": 60},
        },
        transformations=(
            (
                "organize",
                {
                    "excludeByName": {"Time": True},
                    "indexByName": {name: place for place, name in enumerate(names)},
                    "renameByName": dict(names),
                },
            ),
        ),
        options={
            "showHeader": True,
            "sortBy": [{"displayName": sort, "desc": True}],
            "footer": {"show": False, "reducer": ["sum"], "fields": ""},
        },
    )
