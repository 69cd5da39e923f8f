"""The network in ten seconds."""

from __future__ import annotations

from typing import Final

from collector.schema import (
    ARCH,
    ASL_VERSION,
    CHANNEL,
    DAILY_SERVERS,
    DISTRO,
)
from tools.dashboards import queries as q
from tools.dashboards.colours import painted
from tools.dashboards.community_parts import NODES, board, fixed, now, over_time
from tools.dashboards.community_servers import SAMPLE_ROW
from tools.dashboards.kinds import (
    NOT_COUNTED,
    WHOLE_ONLY,
    daily,
    lines,
    stat,
)
from tools.dashboards.palette import RING

_LOW: Final = 3
_BLUE, _GREEN, _AMBER, _PURPLE = RING[0], RING[8], RING[6], RING[7]

OVERVIEW: Final = board(
    "usage-overview",
    "AllStarLink network: overview",
    "Nodes are counted that sent a usage report, each once a day.",
    (
        stat(
            "Nodes, last full day",
            f"{NODES}, under the filter.",
            daily(q.total()),
            daily(q.filtered()),
            width=4,
            colour=_BLUE,
            height=_LOW,
            line=False,
            no_value=NOT_COUNTED,
        ),
        stat(
            "Servers, last full day",
            "Servers that reported on the last complete day, each counted once, under the filter;"
            " a server may host several nodes. Servers have no channel and no registration of their"
            " own.",
            daily(q.total(DAILY_SERVERS)),
            daily(q.filtered(DAILY_SERVERS)),
            width=4,
            colour=_BLUE,
            height=_LOW,
            line=False,
            no_value=NOT_COUNTED,
        ),
        *(
            stat(
                f"Nodes, {days} d change",
                f"Nodes of the last complete day against {days} days before, in per cent"
                " of the latter, under the filter.",
                daily(q.change(days, whole=True)),
                daily(q.change(days, whole=False)),
                width=3,
                unit="percent",
                height=_LOW,
                line=False,
                no_value=NOT_COUNTED,
                steps=((None, _AMBER), (-5, "text"), (5, _GREEN)),
                defaults={"decimals": 1},
            )
            for days in (7, 30)
        ),
        stat(
            "New, last full day",
            "Nodes of the last complete day that had not reported in the 30 days before.",
            daily(q.newcomers(), "new", whole=True),
            width=3,
            colour=_GREEN,
            height=_LOW,
            line=False,
            no_value=WHOLE_ONLY,
        ),
        stat(
            "Lapsed, full day",
            "Nodes that reported 30 days before the last complete day, and never since.",
            daily(q.usage("lapsed_nodes"), "lapsed", whole=True),
            width=3,
            colour=_AMBER,
            height=_LOW,
            line=False,
            no_value=WHOLE_ONLY,
        ),
        stat(
            "Last full day",
            "The last day of which every report is counted. A day is complete some 75 minutes"
            " after its end, at midnight UTC.",
            daily(q.freshness(), table=True),
            width=4,
            # Hyphens that do not break.
            unit="time:YYYY\u2011MM\u2011DD",
            colour="text",
            height=_LOW,
            line=False,
            fields="/^Time$/",
            no_value="no complete day yet",
        ),
    ),
    SAMPLE_ROW,
    (
        lines(
            "Nodes, each day",
            "Nodes that reported on each day, under the filter. Of the whole network also those"
            " that reported at least once in the 7 days up to it, where they are over 5 % more than"
            " in the day, and in 30 days, where they are over 5 % more than in 7. A notch in the"
            " day that the 7 days fill is a fault of our own intake; the orange marks say when.",
            (
                daily(q.total(), "reported that day"),
                daily(q.wider("nodes_7d", "nodes"), "in 7 days", whole=True),
                daily(q.wider("nodes_30d", "nodes_7d"), "in 30 days", whole=True),
                daily(q.filtered(), "reported that day"),
            ),
            width=24,
            height=9,
            fill=0,
            step=True,
            no_value=NOT_COUNTED,
            overrides=(
                fixed("reported that day", _BLUE, fillOpacity=25),
                fixed("in 7 days", _GREEN, drawStyle="points", pointSize=4),
                fixed("in 30 days", _PURPLE, drawStyle="points", pointSize=4),
            ),
        ),
    ),
    (
        now(CHANNEL.name, "channel driver", width=8, most=6),
        now(ARCH.name, "machine architecture", width=8, most=6),
        now(DISTRO.name, "distribution", width=8, most=6),
    ),
    (over_time(ASL_VERSION.name, "AllStarLink version"),),
    (
        lines(
            "New and lapsed nodes, each day",
            "New: nodes of the day that had not reported in the 30 days before. Lapsed: nodes of"
            " the day 30 days back that have not reported since. The day on which counting began,"
            " when all were new, is left out.",
            (
                daily(q.newcomers(), "new", whole=True),
                daily(q.usage("lapsed_nodes"), "lapsed", whole=True),
            ),
            width=20,
            height=7,
            no_value=WHOLE_ONLY,
            step=True,
            overrides=(painted("new", _GREEN), painted("lapsed", _AMBER)),
        ),
        stat(
            "Nodes, today so far",
            "Nodes heard since midnight UTC. The day is open: it is no drop that this is less than"
            " a whole day's number.",
            daily(q.usage("nodes", "time >= now() - 1d", final=False), "so far", whole=True),
            width=4,
            height=7,
            colour="text",
            line=False,
            size=22,
            no_value=WHOLE_ONLY,
        ),
    ),
    over_time=(q.nodes_by(ASL_VERSION.name),),
)
