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
from tools.dashboards.community_parts import NODES, SHARE, board, fixed, now
from tools.dashboards.kinds import (
    NOT_COUNTED,
    WHOLE_ONLY,
    daily,
    lines,
    shares,
    stat,
)

OVERVIEW: Final = board(
    "usage-overview",
    "AllStarLink network: overview",
    "Nodes are counted that sent a usage report in the day, each once; a server may host several.",
    (
        stat(
            "Nodes, last day",
            f"{NODES}, under the filter; behind it, the days of the chosen time.",
            daily(q.total()),
            daily(q.filtered()),
            width=4,
        ),
        stat(
            "Servers, last day",
            "Servers that reported on the last complete day, each counted once, under the filter."
            " Servers have no channel and no registration of their own.",
            daily(q.total(DAILY_SERVERS)),
            daily(q.filtered(DAILY_SERVERS)),
            width=4,
            no_value=NOT_COUNTED,
        ),
        *(
            stat(
                f"Change, {days} d",
                f"Nodes of the last complete day against {days} days before, in per cent"
                " of the latter, under the filter.",
                daily(q.change(days, whole=True)),
                daily(q.change(days, whole=False)),
                width=3,
                unit="percent",
                line=False,
                steps=((None, "orange"), (-5, "text"), (0, "green")),
                defaults={"decimals": 1},
            )
            for days in (7, 30)
        ),
        stat(
            "New",
            "Nodes of the last complete day that had not reported in the 30 days before.",
            daily(q.newcomers(), "new", whole=True),
            width=3,
            colour="green",
            no_value=WHOLE_ONLY,
        ),
        stat(
            "Lapsed",
            "Nodes that reported 30 days before the last complete day, and never since.",
            daily(q.usage("lapsed_nodes"), "lapsed", whole=True),
            width=3,
            colour="orange",
            no_value=WHOLE_ONLY,
        ),
        stat(
            "Complete up to",
            "The last day of which every report is counted. A day is complete some 75 minutes"
            " after its end, at midnight UTC.",
            daily(q.freshness(), table=True),
            width=4,
            unit="time:YYYY-MM-DD",
            colour="text",
            line=False,
            fields="/^Time$/",
        ),
    ),
    (
        lines(
            "Nodes",
            "Nodes that reported on each day, under the filter, and, of the whole network, those"
            " that reported at least once in the 7 and 30 days up to it. A notch in the day that"
            " the 7 days do not show is a fault of our own intake; the orange marks say when.",
            (
                daily(q.total(), "reported that day"),
                daily(q.usage("nodes_7d"), "in 7 days", whole=True),
                daily(q.usage("nodes_30d"), "in 30 days", whole=True),
                daily(q.filtered(), "reported that day"),
            ),
            width=24,
            height=9,
            fill=0,
            step=True,
            overrides=(
                fixed("reported that day", "#5794f2", fillOpacity=25),
                fixed("in 7 days", "#8ab8ff", lineWidth=2),
                fixed("in 30 days", "#b877d9", lineWidth=2),
            ),
        ),
    ),
    (
        now(CHANNEL.name, "Channel drivers", "channel driver", width=8),
        now(ARCH.name, "Architectures", "machine architecture", width=8),
        now(DISTRO.name, "Distributions", "distribution", width=8),
    ),
    (shares(ASL_VERSION.name, "AllStarLink versions, share of nodes", SHARE, width=24, height=9),),
    (
        lines(
            "New and lapsed nodes",
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
            overrides=(painted("new", "#73bf69"), painted("lapsed", "#ff9830")),
        ),
        stat(
            "Heard today so far",
            "Nodes heard since midnight UTC. The day is open: it is no drop that this is less than"
            " a whole day's number.",
            daily(q.usage("nodes", "time >= now() - 1d", final=False), "so far", whole=True),
            width=4,
            height=7,
            colour="text",
            line=False,
            no_value=WHOLE_ONLY,
        ),
    ),
)
