"""What senders send, what they are answered, and its way to InfluxDB."""

from __future__ import annotations

from typing import Final

from tools.dashboards.axes import counts
from tools.dashboards.colours import painted
from tools.dashboards.kinds import lines
from tools.dashboards.meanings import GREY, ORANGE
from tools.dashboards.model import PROMETHEUS, Dashboard, Override, Panel, Target
from tools.dashboards.ops_live import ROW as ASTERISK
from tools.dashboards.ops_parts import (
    ALARM,
    BAD,
    GOOD,
    LAST_DAY_AND_NOW,
    NOT_MEASURED,
    TAG,
    figure,
    prom,
    quantile,
    red,
    yes_or_no,
)

THREE: Final = (
    painted("half under", GOOD),
    painted("95 % under", ORANGE),
    painted("99 % under", BAD),
)
"""Colours of the quantiles of a time."""

INTAKE: Final = Dashboard(
    uid="collector-intake",
    title="Collector: intake",
    description="What senders send, what they are answered, and its way to InfluxDB.",
    file="ops/intake.json",
    tag=TAG,
    range=LAST_DAY_AND_NOW,
    refresh="1m",
    rows=(
        (
            figure(
                "Reports waiting",
                "Accepted reports that a target does not have yet; the collector's disk has them.",
                prom("sum(collector_outbox_reports)"),
                width=4,
                steps=((None, "green"), (10_000, "orange"), (100_000, "red")),
            ),
            figure(
                "Oldest waiting",
                "Age of the oldest report that a target does not have yet. Over 15 minutes is an"
                " alert.",
                prom("max(collector_outbox_age_seconds)"),
                width=4,
                unit="s",
                steps=((None, "green"), (300, "orange"), (900, "red")),
            ),
            yes_or_no(
                figure(
                    "Takes reports",
                    "Yes while every collector takes reports, no while one answers 503.",
                    prom("min(collector_outbox_accepting)"),
                    width=4,
                    unit="none",
                    steps=((None, "red"), (1, "green")),
                )
            ),
            yes_or_no(
                figure(
                    "Delivery blocked",
                    "Yes while delivery makes no progress: a target is away, or denies the token.",
                    prom("max(collector_writer_blocked)"),
                    width=4,
                    unit="none",
                    steps=ALARM,
                )
            ),
            figure(
                "Dead letters",
                "Lines that a target refused for good: `collector outbox dead` lists them.",
                prom("sum(collector_dead_letters)"),
                width=4,
                steps=ALARM,
            ),
            figure(
                "Addresses heard today",
                "Sender addresses, as keyed digests in memory, that the rate limit counts today.",
                prom("sum(collector_rate_limit_addresses)"),
                width=4,
            ),
        ),
        (
            counts(
                "Submissions a minute, by sender and outcome",
                "Submissions a minute by sender and outcome: accepted, or the reason of refusal.",
                (
                    prom(
                        "60 * sum by (intake, outcome)"
                        " (rate(collector_reports_total[$__rate_interval]))",
                        "{{intake}} {{outcome}}",
                    ),
                ),
                width=12,
                no_value=NOT_MEASURED,
                overrides=(
                    Override(
                        "byRegexp",
                        "/ accepted$/",
                        {"color": {"mode": "fixed", "fixedColor": GOOD}},
                    ),
                    red("/ unavailable$/"),
                ),
            ),
            counts(
                "Submissions refused in 5 minutes, by reason",
                "Submissions refused in the 5 minutes before. `rate-limited` and `unavailable` are"
                " our own doing; the rest is the senders'.",
                (
                    prom(
                        "sum by (outcome)"
                        ' (increase(collector_reports_total{outcome!="accepted"}[5m]))',
                        "{{outcome}}",
                    ),
                ),
                width=12,
                no_value="none was refused",
                overrides=(red("/^unavailable$/"),),
            ),
        ),
        (
            lines(
                "Time to reply",
                "From a submission's headers to its reply, which comes once the report is durable.",
                (
                    quantile(0.5, "collector_request_seconds", "half under"),
                    quantile(0.95, "collector_request_seconds", "95 % under"),
                    quantile(0.99, "collector_request_seconds", "99 % under"),
                ),
                width=8,
                unit="s",
                no_value="nobody sent anything",
                overrides=THREE,
            ),
            counts(
                "Nodes a minute, by what became of them",
                "Nodes in accepted submissions, a minute: stored, or why they were ignored.",
                (
                    prom(
                        "60 * sum by (outcome) (rate(collector_nodes_total[$__rate_interval]))",
                        "{{outcome}}",
                    ),
                ),
                width=8,
                no_value=NOT_MEASURED,
                overrides=(
                    painted("stored", GOOD),
                    painted("private", GREY),
                    painted("unlisted", ORANGE),
                ),
            ),
            counts(
                "Reports waiting, and age of the oldest (right)",
                "Reports that a target does not have yet (left), age of the oldest (right).",
                (
                    prom("sum by (target) (collector_outbox_reports)", "waiting for {{target}}"),
                    prom(
                        "max by (target) (collector_outbox_age_seconds)",
                        "oldest for {{target}}",
                    ),
                ),
                width=8,
                fill=0,
                no_value=NOT_MEASURED,
                overrides=(
                    Override(
                        "byRegexp",
                        "/^oldest for /",
                        {
                            "unit": "s",
                            "custom.axisPlacement": "right",
                            "custom.lineStyle": {"fill": "dash", "dash": [6, 4]},
                        },
                    ),
                ),
            ),
        ),
        (
            lines(
                "Time of a write to InfluxDB",
                "Time of a write request to InfluxDB.",
                (
                    quantile(0.5, "collector_writer_request_seconds", "half under"),
                    quantile(0.95, "collector_writer_request_seconds", "95 % under"),
                ),
                width=8,
                unit="s",
                no_value="nothing was written",
                overrides=THREE,
            ),
            lines(
                "Writes to InfluxDB a minute, by outcome",
                "Write requests to InfluxDB a minute, by outcome.",
                (
                    prom(
                        "60 * sum by (outcome)"
                        " (rate(collector_writer_requests_total[$__rate_interval]))",
                        "{{outcome}}",
                    ),
                ),
                width=8,
                no_value="nothing was written",
                overrides=(painted("written", GOOD), red("/^(denied|unavailable|rejected)$/")),
            ),
            lines(
                "Commits of the outbox a minute",
                "Commits a minute, each of many reports; a failed one answers its senders 503.",
                (
                    prom(
                        "60 * sum(rate(collector_outbox_commits_total[$__rate_interval]))",
                        "commits",
                    ),
                    prom(
                        "60 * sum(rate(collector_outbox_failures_total[$__rate_interval]))",
                        "failed",
                    ),
                ),
                width=8,
                no_value=NOT_MEASURED,
                overrides=(painted("commits", GOOD), painted("failed", BAD)),
            ),
        ),
        (
            Panel(
                kind="bargauge",
                title="Share of each tag's budget that is spent",
                description=(
                    "Share of each tag's budget of distinct values that is spent. Past it a new"
                    " value is stored as `other`. Over 80 % is an alert."
                ),
                width=12,
                height=8,
                targets=(
                    Target(
                        PROMETHEUS,
                        "max by (tag) (collector_tag_values / collector_tag_budget)",
                        "{{tag}}",
                    ),
                ),
                unit="percentunit",
                no_value="no value seen yet",
                steps=((None, "green"), (0.6, "orange"), (0.8, "red")),
                defaults={"min": 0, "max": 1, "decimals": 1, "color": {"mode": "thresholds"}},
                options={
                    "displayMode": "basic",
                    "orientation": "horizontal",
                    "showUnfilled": True,
                    "minVizWidth": 0,
                    "minVizHeight": 10,
                    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                    "text": {"titleSize": 12, "valueSize": 16},
                },
            ),
            counts(
                "Values over their budget in an hour, by tag",
                "Tag values stored as `other` in the hour before, because the budget was spent.",
                (
                    prom(
                        "sum by (tag) (increase(collector_tag_values_over_budget_total[1h]))",
                        "{{tag}}",
                    ),
                ),
                width=12,
                no_value="none",
            ),
        ),
        ASTERISK,
    ),
)
