"""Whether what is published is whole."""

from __future__ import annotations

from typing import Final

from collector.schema import (
    ALL,
    DAILY_NODES,
    DAILY_USAGE,
    HOURLY_USAGE,
    OTHER,
)
from tools.dashboards.colours import painted
from tools.dashboards.kinds import daily, lines, stat, table
from tools.dashboards.model import Dashboard, Override
from tools.dashboards.ops_objectives import ROW as OBJECTIVES
from tools.dashboards.ops_parts import (
    ALARM,
    BAD,
    GOOD,
    TAG,
    hourly,
    prom,
    quantile,
    red,
)
from tools.dashboards.queries import DONE, LAST_DAY, OVER

HEALTH: Final = Dashboard(
    uid="collector-health",
    title="Collector: data health",
    description="Whether what is published is whole: reports against expectation, days, repairs.",
    file="ops/health.json",
    tag=TAG,
    range=("now-7d", "now"),
    refresh="5m",
    rows=(
        (
            stat(
                "Reports in 3 hours",
                "Reports of the last 3 full hours in the chosen time against what the same hours"
                " had in the week before (median). Under 50 % is an alert.",
                daily(
                    'SELECT sum("reports") / sum("expected_reports")'
                    f' FROM "{HOURLY_USAGE.name}" WHERE time >= now() - 260m AND time < now() - 80m'
                ),
                width=4,
                unit="percentunit",
                line=False,
                no_value="no expectation yet",
                steps=((None, "red"), (0.5, "orange"), (0.8, "green")),
            ),
            stat(
                "Coverage",
                "Nodes heard in 24 hours against those expected. Under 85 % for 2 hours is an"
                " alert.",
                daily(
                    'SELECT "nodes_24h" / "expected_nodes_24h"'
                    f' FROM "{HOURLY_USAGE.name}" WHERE $timeFilter'
                ),
                width=4,
                unit="percentunit",
                no_value="no expectation yet",
                steps=((None, "red"), (0.85, "orange"), (0.95, "green")),
                defaults={"min": 0},
            ),
            stat(
                "Days not final",
                "Days of the last 30 that are over and due, and yet not final.",
                daily(
                    f'SELECT count("final") FROM "{DAILY_USAGE.name}" WHERE time >= {OVER} - 30d'
                    f' AND time < {OVER} AND "final" = 0'
                ),
                width=4,
                line=False,
                no_value="none",
                steps=ALARM,
            ),
            stat(
                "Days due",
                "Days that the rollup has still to compute: missing, or changed since.",
                prom("max(collector_rollup_days_due)", now=True),
                width=4,
                line=False,
                steps=((None, "green"), (3, "orange")),
            ),
            stat(
                "Days refused",
                "Final days that would lose over 20 %: an operator must decide.",
                prom("max(collector_rollup_days_refused)", now=True),
                width=4,
                line=False,
                steps=ALARM,
            ),
            stat(
                "Last rollup",
                "Time since days were last looked at with success; every 15 minutes is the rule.",
                prom("time() - max(collector_rollup_last_success_timestamp_seconds > 0)", now=True),
                width=4,
                unit="s",
                line=False,
                no_value="not since the start",
                steps=((None, "green"), (1800, "orange"), (7200, "red")),
            ),
        ),
        OBJECTIVES,
        (
            lines(
                "Reports an hour, and what was expected",
                "Reports received in each hour, and the median of the same hour in the 7 days"
                " before. The hour under way is not there.",
                (hourly("reports", "reports"), hourly("expected_reports", "expected")),
                width=24,
                height=8,
                overrides=(painted("reports", "#5794f2"), painted("expected", "#9fa3ad")),
            ),
        ),
        (
            lines(
                "Nodes in 24 hours, and what was expected",
                "Distinct nodes in the 24 hours to each hour's end, and the median of the same"
                " hour in the 7 days before.",
                (hourly("nodes_24h", "nodes"), hourly("expected_nodes_24h", "expected")),
                width=24,
                height=8,
                overrides=(painted("nodes", "#5794f2"), painted("expected", "#9fa3ad")),
            ),
        ),
        (
            lines(
                "Runs of the rollup by outcome",
                "Days computed in the hour before, by outcome; `written` changed what is stored,"
                " `failed` is InfluxDB's no.",
                (
                    prom(
                        "sum by (outcome) (increase(collector_rollup_runs_total[1h]))",
                        "{{outcome}}",
                    ),
                ),
                width=8,
                overrides=(painted("written", GOOD), red("/^(failed|refused)$/")),
            ),
            lines(
                "Time of a rollup",
                "Time of one day's rollup.",
                (
                    quantile(0.5, "collector_rollup_seconds", "half under"),
                    quantile(0.95, "collector_rollup_seconds", "95 % under"),
                ),
                width=8,
                unit="s",
            ),
            lines(
                "Repaired bodies and unlisted nodes",
                "In the hour before: submissions whose JSON was repaired as the client is known to"
                " break it, and nodes that are not on the public list.",
                (
                    prom("sum(increase(collector_repaired_bodies_total[1h]))", "repaired"),
                    prom(
                        'sum(increase(collector_nodes_total{outcome="unlisted"}[1h]))', "unlisted"
                    ),
                ),
                width=8,
            ),
        ),
        (
            table(
                "Values on the last complete day",
                "Nodes by each value of each property, on the last complete day.",
                daily(
                    f'SELECT "dimension", "value", "nodes" FROM "{DAILY_NODES.name}"'
                    f" WHERE {LAST_DAY} AND {DONE} AND \"within\" = '{ALL}'",
                    table=True,
                ),
                width=12,
                height=10,
                names={"dimension": "property", "value": "value", "nodes": "nodes"},
                sort="nodes",
                no_value="the last day is not complete yet",
            ),
            table(
                "Values a week before",
                "Nodes by each value of each property, a week before the last complete day.",
                daily(
                    f'SELECT "dimension", "value", "nodes" FROM "{DAILY_NODES.name}"'
                    f" WHERE time >= {OVER} - 8d AND time < {OVER} - 7d AND {DONE}"
                    f" AND \"within\" = '{ALL}'",
                    table=True,
                ),
                width=12,
                height=10,
                names={"dimension": "property", "value": "value", "nodes": "nodes"},
                sort="nodes",
                no_value="nothing was counted then",
            ),
        ),
        (
            lines(
                "Nodes in `other`",
                "Of each property the nodes whose value was of too few to be named: a rise is a new"
                " value, a spent budget, or a body that is not understood.",
                (
                    daily(
                        f'SELECT sum("nodes") FROM "{DAILY_NODES.name}" WHERE $timeFilter'
                        f" AND time < {OVER} AND {DONE} AND \"within\" = '{ALL}'"
                        f" AND \"value\" = '{OTHER}'"
                        ' GROUP BY time(1d), "dimension" fill(none)',
                        "$tag_dimension",
                    ),
                ),
                width=8,
                step=True,
                legend="right",
                no_value="none",
            ),
            lines(
                "Public node list",
                "Nodes on the list in use, and its age; nothing where none is configured.",
                (
                    prom("max(collector_nodelist_nodes)", "nodes"),
                    prom("max(collector_nodelist_age_seconds)", "age"),
                ),
                width=8,
                overrides=(
                    Override("byName", "age", {"unit": "s", "custom.axisPlacement": "right"}),
                ),
            ),
            lines(
                "Owners' requests",
                "Erasures that wait: over the hourly limit for an operator, or remembered until"
                " InfluxDB lets them be done; and servers whose owners opted out.",
                (
                    prom("sum(collector_erasures_queued)", "for an operator"),
                    prom("sum(collector_erasures_waiting)", "for InfluxDB"),
                    prom("max(collector_opted_out_servers)", "opted out"),
                ),
                width=8,
                overrides=(painted("for an operator", BAD),),
            ),
        ),
        (
            lines(
                "Suspicions",
                "What may be an attempt to fool the numbers, in the hour before; none is refused:"
                " nodes that two servers claimed on a day, servers first seen, bodies alike but for"
                " the UUID, uptimes that cannot be.",
                (prom("sum by (kind) (increase(collector_suspicions_total[1h]))", "{{kind}}"),),
                width=12,
                no_value="none",
            ),
            lines(
                "Refused unread",
                "Connections and requests refused in the hour before, before anything was"
                " understood of them, by reason.",
                (
                    prom(
                        "sum by (reason) (increase(collector_http_refusals_total[1h]))",
                        "{{reason}}",
                    ),
                ),
                width=12,
                no_value="none",
                overrides=(red("/^(too-many-connections|internal-error)$/"),),
            ),
        ),
    ),
)
