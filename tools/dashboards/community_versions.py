"""What the nodes run, and how new versions spread."""

from __future__ import annotations

from typing import Final

from collector.schema import (
    ASL_VERSION,
    ASTERISK_VERSION,
    OTHER,
)
from tools.dashboards import queries as q
from tools.dashboards.colours import GREY, colours
from tools.dashboards.community_parts import SHARE, board, now
from tools.dashboards.kinds import (
    WHOLE_ONLY,
    daily,
    shares,
    stat,
    table,
)
from tools.dashboards.model import Panel

VERSIONS: Final = board(
    "usage-versions",
    "AllStarLink network: versions",
    "Nodes are counted by the version that their server ran at the day's last report.",
    (shares(ASL_VERSION.name, "AllStarLink versions, share of nodes", SHARE, width=24),),
    (shares(ASTERISK_VERSION.name, "Asterisk versions, share of nodes", SHARE, width=24),),
    (
        now(ASL_VERSION.name, "AllStarLink versions now", "AllStarLink version", width=12),
        now(ASTERISK_VERSION.name, "Asterisk versions now", "Asterisk version", width=12),
    ),
    (
        Panel(
            kind="barchart",
            title="Adoption, by days since first seen",
            description=(
                "For each AllStarLink version its nodes 7, 14, 21 … days after it first appeared"
                " here (days on which it was published, of the last 400), under the filter. A"
                " version that was there when counting began started earlier than shown."
            ),
            width=24,
            height=9,
            targets=(daily(q.adoption(ASL_VERSION.name), table=True),),
            unit="locale",
            # No text for "no value": Grafana would write it at the foot of every bar.
            defaults={
                "min": 0,
                "color": {"mode": "palette-classic"},
                "custom": {"lineWidth": 0, "fillOpacity": 85, "gradientMode": "none"},
            },
            overrides=colours(ASL_VERSION.name),
            transformations=(
                (
                    "groupingToMatrix",
                    {
                        "columnField": "value",
                        "rowField": "day",
                        "valueField": "nodes",
                        "emptyValue": "null",
                    },
                ),
            ),
            options={
                "xField": "day\\value",
                "orientation": "vertical",
                "stacking": "none",
                "barWidth": 0.97,
                "groupWidth": 0.8,
                "showValue": "never",
                "xTickLabelRotation": 0,
                "xTickLabelSpacing": 100,
                "legend": {
                    "showLegend": True,
                    "displayMode": "list",
                    "placement": "bottom",
                    "calcs": [],
                },
                "tooltip": {"mode": "multi", "sort": "none"},
            },
        ),
    ),
    (
        table(
            "Upgrades in the chosen time",
            "Nodes that reported one AllStarLink version and then, within 30 days, another. Flows"
            " of too few nodes in a day are not named; they are in the number beside.",
            daily(q.upgrades(other=False), table=True, whole=True),
            width=10,
            height=9,
            names={"from_version": "from", "to_version": "to", "nodes": "nodes"},
            sort="nodes",
            no_value=WHOLE_ONLY,
        ),
        stat(
            "Other upgrades",
            "Nodes that changed their version in flows too small to be named.",
            daily(q.upgrades(other=True), OTHER, whole=True),
            width=4,
            height=9,
            colour=GREY,
            line=False,
            no_value=WHOLE_ONLY,
        ),
        table(
            "Oldest AllStarLink versions in use",
            "Versions on the last complete day with the days for which they have been seen, of the"
            " last 400, and the nodes that still run them, under the filter.",
            daily(q.ages(ASL_VERSION.name), table=True),
            width=10,
            height=9,
            names={"value": "version", "days": "days seen", "nodes": "nodes"},
            sort="days seen",
        ),
    ),
)
