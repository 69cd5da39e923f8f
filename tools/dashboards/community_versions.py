"""What the nodes run, and how new versions spread."""

from __future__ import annotations

from typing import Final

from collector.schema import ASL_VERSION, ASTERISK_VERSION
from tools.dashboards import adoption
from tools.dashboards import queries as q
from tools.dashboards.community_parts import board, now, on_log, over_time
from tools.dashboards.kinds import daily, table

_ASL: Final = "AllStarLink version"
_ASTERISK: Final = "Asterisk version"

VERSIONS: Final = board(
    "usage-versions",
    "AllStarLink network: versions",
    "Nodes are counted by the versions in the day's last report.",
    (over_time(ASL_VERSION.name, _ASL),),
    (over_time(ASTERISK_VERSION.name, _ASTERISK),),
    (
        on_log(ASL_VERSION.name, _ASL, width=12),
        on_log(ASTERISK_VERSION.name, _ASTERISK, width=12),
    ),
    (
        now(ASL_VERSION.name, _ASL, width=12),
        now(ASTERISK_VERSION.name, _ASTERISK, width=12),
    ),
    (
        adoption.adoption(
            ASL_VERSION, "Nodes by AllStarLink version, since first seen", width=24, height=10
        ),
    ),
    (
        table(
            "Nodes that changed version",
            "Nodes that reported one AllStarLink version and then, within 30 days, another, in the"
            " chosen time. Flows of too few nodes in a day are together from `other` to `other`.",
            daily(q.upgrades(), table=True, whole=True),
            width=12,
            height=9,
            names={"from_version": "from", "to_version": "to", "nodes": "nodes"},
            sort="nodes",
            no_value="no changes, or not the whole network",
        ),
        table(
            "Nodes on the oldest versions, last full day",
            "AllStarLink versions on the last complete day with the days for which they have been"
            " seen, of the last 400, and the nodes that still run them, under the filter.",
            daily(q.ages(ASL_VERSION.name), table=True),
            width=12,
            height=9,
            names={"value": "version", "days": "days seen", "nodes": "nodes"},
            sort="days seen",
        ),
    ),
    over_time=(q.nodes_by(ASL_VERSION.name), q.nodes_by(ASTERISK_VERSION.name)),
    variables=adoption.variables(ASL_VERSION),
)
