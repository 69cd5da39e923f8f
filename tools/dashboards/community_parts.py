"""What the community's dashboards have in common: the filter, the first sentence, the bars."""

from __future__ import annotations

from typing import Final

from collector.schema import (
    ALL,
    ARCH,
    ASL_VERSION,
    ASTERISK_VERSION,
    CHANNEL,
    DISTRO,
    NODE_DIMENSIONS,
    REGISTRATION,
    RELEASE,
)
from tools.dashboards import queries as q
from tools.dashboards import tables
from tools.dashboards.breakdowns import MOST_BARS, MOST_IN_STACK, Table
from tools.dashboards.colours import colours
from tools.dashboards.community_events import EVENTS
from tools.dashboards.kinds import text
from tools.dashboards.model import USAGE_DAILY, Dashboard, Json, Override, Panel
from tools.dashboards.tables import greatest, shares
from tools.dashboards.variables import asked

TAG: Final = "usage"
_NAMES: Final = {
    ASTERISK_VERSION.name: "Asterisk version",
    ASL_VERSION.name: "AllStarLink version",
    DISTRO.name: "Distribution",
    RELEASE.name: "Release",
    ARCH.name: "Architecture",
    CHANNEL.name: "Channel driver",
    REGISTRATION.name: "Registration",
}
NODES: Final = "Nodes that reported on the last complete day (UTC), each counted once"
SHARE: Final = (
    "Share of the nodes that reported on the day, under the filter; a node counts once, by its"
    f" last report. The {MOST_IN_STACK} greatest of the chosen time have names, in the order of"
    " size on the last day; the others are together in the pale grey, and values of too few nodes"
    " in the dark grey `other`. Of more than 370 days every Sunday is drawn."
)


def _custom(name: str, label: str, values: dict[str, str]) -> Json:
    options = [
        {"text": shown, "value": value, "selected": value == ALL} for value, shown in values.items()
    ]
    return {
        "type": "custom",
        "name": name,
        "label": label,
        "hide": 0,
        "skipUrlSync": False,
        "multi": False,
        "includeAll": False,
        "query": ",".join(f"{shown} : {value}" for value, shown in values.items()),
        "queryValue": "",
        "options": options,
        "current": {"selected": True, "text": values[ALL], "value": ALL},
    }


FILTER: Final = (
    _custom(
        "within",
        "Only nodes with this",
        {ALL: "(all nodes)", **{name: _NAMES[name] for name in NODE_DIMENSIONS}},
    ),
    asked("within_value", "being", q.values_within(), USAGE_DAILY, current=ALL),
)


def _says(sentence: str) -> Panel:
    """What the dashboard counts, and where the method is."""
    return text(
        f'<div style="font-size:12px;line-height:1.3">{sentence} Complete days (UTC) only.'
        ' <a href="/method" target="_blank" rel="noopener">How it is counted</a> ·'
        ' <a href="/privacy" target="_blank" rel="noopener">what is kept of you</a></div>'
    )


def now(dimension: str, what: str, *, width: int, most: int = MOST_BARS, height: int = 0) -> Panel:
    """Nodes of the last complete day by a dimension, as bars."""
    return greatest(
        f"Nodes by {what}, last full day",
        f"{NODES}, by {what}, under the filter: the {most} greatest, the others together, and in"
        " the dark grey `other` values of too few nodes. Together they are the nodes of that day.",
        q.nodes_by(dimension),
        colours(dimension),
        width=width,
        most=most,
        height=height,
    )


def over_time(
    dimension: str, what: str, *, width: int = 24, height: int = 10, more: str = ""
) -> Panel:
    """Shares of the nodes of each day by a dimension. The board must list the dimension."""
    return shares(
        f"Nodes by {what}, share of each day",
        SHARE + more,
        q.nodes_by(dimension),
        colours(dimension),
        width=width,
        height=height,
    )


def on_log(dimension: str, what: str, *, width: int) -> Panel:
    """Nodes of each day by a dimension, where small values are seen. The board must list it."""
    return tables.on_log(
        f"Nodes by {what}, logarithmic",
        f"Nodes that reported on each day, by {what}, under the filter: the same {MOST_IN_STACK}"
        " values as in the shares, on a scale on which each line of the grid is ten times as many,"
        " so that small ones are seen.",
        q.nodes_by(dimension),
        colours(dimension),
        width=width,
    )


def board(
    uid: str,
    title: str,
    description: str,
    *rows: tuple[Panel, ...],
    over_time: tuple[Table, ...] = (),
    variables: tuple[Json, ...] = (),
    annotations: tuple[Json, ...] = (),
) -> Dashboard:
    """A dashboard with the filter, and `description` as its first sentence.

    `over_time` are the tables whose shares it draws; `annotations` come after the common ones.
    """
    return Dashboard(
        uid=uid,
        title=title,
        description=description,
        file=f"community/{uid.removeprefix('usage-')}.json",
        tag=TAG,
        rows=((_says(description),), *rows),
        variables=(
            *FILTER,
            *variables,
            *(table.greatest(USAGE_DAILY, q.IN_RANGE) for table in over_time),
        ),
        annotations=(*EVENTS, *annotations),
        range=("now-1y/d", "now-1d/d"),
    )


def fixed(name: str, colour: str, **custom: object) -> Override:
    """One series in one colour, with other looks of its own."""
    properties = {f"custom.{key}": value for key, value in custom.items()}
    return Override(
        "byName", name, {"color": {"mode": "fixed", "fixedColor": colour}, **properties}
    )
