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
from tools.dashboards.colours import colours
from tools.dashboards.community_events import EVENTS
from tools.dashboards.kinds import (
    bars,
    by_value,
    text,
)
from tools.dashboards.model import USAGE_DAILY, Dashboard, Json, Override, Panel
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
    " last report. Values of too few nodes are together in the grey `other`. Of more than 370 days"
    " every Sunday is drawn."
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
        f'<div style="font-size:13px;line-height:1.35">{sentence} Only complete days (UTC).'
        '<br><a href="/method" target="_blank" rel="noopener">How it is counted</a> ·'
        ' <a href="/privacy" target="_blank" rel="noopener">what is kept of you</a></div>'
    )


def now(dimension: str, title: str, what: str, *, width: int, height: int = 8) -> Panel:
    """A dimension on the last complete day, as bars."""
    return bars(
        title,
        f"{NODES}, by {what}. Together they are the nodes of that day under the filter; values of"
        " too few nodes are in the grey `other`.",
        by_value(dimension, time=q.LAST_DAY),
        colours(dimension),
        width=width,
        height=height,
    )


def board(uid: str, title: str, description: str, *rows: tuple[Panel, ...]) -> Dashboard:
    """A dashboard with the filter, and `description` as its first sentence."""
    return Dashboard(
        uid=uid,
        title=title,
        description=description,
        file=f"community/{uid.removeprefix('usage-')}.json",
        tag=TAG,
        rows=((_says(description),), *rows),
        variables=FILTER,
        annotations=EVENTS,
        range=("now-1y/d", "now-1d/d"),
    )


def fixed(name: str, colour: str, **custom: object) -> Override:
    """One series in one colour, with other looks of its own."""
    properties = {f"custom.{key}": value for key, value in custom.items()}
    return Override(
        "byName", name, {"color": {"mode": "fixed", "fixedColor": colour}, **properties}
    )
