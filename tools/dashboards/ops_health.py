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
from tools.dashboards.axes import counts
from tools.dashboards.colours import painted
from tools.dashboards.kinds import daily, lines, table
from tools.dashboards.meanings import BLUE, GREY, ORANGE
from tools.dashboards.model import Dashboard, Override
from tools.dashboards.ops_objectives import FIGURES as BUDGETS
from tools.dashboards.ops_objectives import ROW as OBJECTIVES
from tools.dashboards.ops_parts import (
    ALARM,
    BAD,
    GOOD,
    NOT_MEASURED,
    TAG,
    figure,
    hourly,
    prom,
    quantile,
    red,
)
from tools.dashboards.queries import DONE, LAST_DAY, OVER

_EXPECTED: Final = Override(
    "byName",
    "expected",
    {"color": {"mode": "fixed", "fixedColor": GREY}, "custom.fillOpacity": 0},
)

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
            figure(
                "Reports came, 3 h",
                "Reports of the last 3 full hours in the chosen time against what the same hours"
                " had in the week before (median). Under 50 % is an alert.",
                daily(
                    'SELECT sum("reports") / sum("expected_reports")'
                    f' FROM "{HOURLY_USAGE.name}" WHERE time >= now() - 260m AND time < now() - 80m'
                ),
                width=3,
                unit="percentunit",
                no_value="not known yet",
                steps=((None, "red"), (0.5, "orange"), (0.8, "green")),
                defaults={"decimals": 1},
            ),
            figure(
                "Nodes heard, 24 h",
                "Nodes heard in 24 hours against those expected. Under 85 % for 2 hours is an"
                " alert.",
                daily(
                    'SELECT "nodes_24h" / "expected_nodes_24h"'
                    f' FROM "{HOURLY_USAGE.name}" WHERE $timeFilter'
                ),
                width=3,
                unit="percentunit",
                no_value="not known yet",
                steps=((None, "red"), (0.85, "orange"), (0.95, "green")),
                defaults={"decimals": 1},
            ),
            figure(
                "Days not final",
                "Days of the last 30 that are over and due, and yet not final.",
                daily(
                    f'SELECT count("final") FROM "{DAILY_USAGE.name}" WHERE time >= {OVER} - 30d'
                    f' AND time < {OVER} AND "final" = 0'
                ),
                width=3,
                no_value="none",
                steps=ALARM,
            ),
            figure(
                "Days to compute",
                "Days that the rollup has still to compute: missing, or changed since.",
                prom("max(collector_rollup_days_due)", now=True),
                width=3,
                steps=((None, "green"), (3, "orange")),
            ),
            figure(
                "Days refused",
                "Final days that would lose over 20 %: an operator must decide.",
                prom("max(collector_rollup_days_refused)", now=True),
                width=3,
                steps=ALARM,
            ),
            figure(
                "Since the rollup",
                "Time since days were last looked at with success; every 15 minutes is the rule.",
                prom("time() - max(collector_rollup_last_success_timestamp_seconds > 0)", now=True),
                width=3,
                unit="s",
                no_value="not yet",
                defaults={"decimals": 1},
                steps=((None, "green"), (1800, "orange"), (7200, "red")),
            ),
            *BUDGETS,
        ),
        OBJECTIVES,
        (
            lines(
                "Reports an hour, and how many were expected",
                "Reports received in each hour, and the median of the same hour in the 7 days"
                " before. The hour under way is not there.",
                (hourly("reports", "reports"), hourly("expected_reports", "expected")),
                width=12,
                overrides=(painted("reports", BLUE), _EXPECTED),
                no_value="no hour is counted yet",
            ),
            lines(
                "Nodes in 24 hours, and how many were expected",
                "Distinct nodes in the 24 hours to each hour's end, and the median of the same"
                " hour in the 7 days before.",
                (hourly("nodes_24h", "nodes"), hourly("expected_nodes_24h", "expected")),
                width=12,
                overrides=(painted("nodes", BLUE), _EXPECTED),
                no_value="no hour is counted yet",
            ),
        ),
        (
            counts(
                "Days computed in an hour, by outcome",
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
                no_value="no day was computed",
            ),
            lines(
                "Time to compute a day",
                "Time of one day's rollup.",
                (
                    quantile(0.5, "collector_rollup_seconds", "half under"),
                    quantile(0.95, "collector_rollup_seconds", "95 % under"),
                ),
                width=8,
                unit="s",
                overrides=(painted("half under", GOOD), painted("95 % under", ORANGE)),
                no_value="no day was computed",
            ),
            counts(
                "Repaired bodies and unlisted nodes an hour",
                "In the hour before: submissions whose JSON was repaired as the client is known to"
                " break it, and nodes that are not on the public list.",
                (
                    prom("sum(increase(collector_repaired_bodies_total[1h]))", "repaired"),
                    prom(
                        'sum(increase(collector_nodes_total{outcome="unlisted"}[1h]))',
                        "unlisted",
                    ),
                ),
                width=8,
                no_value="none",
            ),
        ),
        (
            table(
                "Nodes by property and value, last complete day",
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
                "Nodes by property and value, a week before that",
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
            counts(
                "Nodes in other, by property",
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
                fill=0,
                step=True,
                no_value="none",
            ),
            lines(
                "Nodes on the public list, and its age (right)",
                "Nodes on the list in use, and its age; nothing where none is configured.",
                (
                    prom("max(collector_nodelist_nodes) > 0", "nodes"),
                    prom("max(collector_nodelist_age_seconds) > 0", "age"),
                ),
                width=8,
                fill=0,
                no_value="no list is configured",
                overrides=(
                    Override("byName", "age", {"unit": "s", "custom.axisPlacement": "right"}),
                ),
            ),
            counts(
                "Erasures that wait, and servers opted out",
                "Erasures that wait: over the hourly limit for an operator, or remembered until"
                " InfluxDB lets them be done; and servers whose owners opted out.",
                (
                    prom("sum(collector_erasures_queued)", "for an operator"),
                    prom("sum(collector_erasures_waiting)", "for InfluxDB"),
                    prom("max(collector_opted_out_servers)", "opted out"),
                ),
                width=8,
                fill=0,
                overrides=(painted("for an operator", BAD),),
                no_value=NOT_MEASURED,
            ),
        ),
        (
            counts(
                "Suspicions in an hour, by kind",
                "What may be an attempt to fool the numbers, in the hour before; none is refused:"
                " nodes that two servers claimed on a day, servers first seen, bodies alike but for"
                " the UUID, uptimes that cannot be.",
                (prom("sum by (kind) (increase(collector_suspicions_total[1h]))", "{{kind}}"),),
                width=12,
                fill=0,
                no_value="none",
            ),
            counts(
                "Refused unread in an hour, by reason",
                "Connections and requests refused in the hour before, before a handler"
                " read them, by reason.",
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
