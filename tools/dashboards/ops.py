"""The operators' dashboards: whether all is received, counted and kept."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from collector.schema import (
    ALL,
    DAILY_NODES,
    DAILY_USAGE,
    HOURLY_USAGE,
    OTHER,
    SERVER_REPORT,
)
from tools.dashboards.colours import painted
from tools.dashboards.kinds import daily, lines, stat, table, text
from tools.dashboards.model import PROMETHEUS, USAGE_RAW, Dashboard, Override, Panel, Target
from tools.dashboards.queries import COMPLETE_AFTER, LAST_DAY, OVER

TAG: Final = "collector"
RUNBOOK: Final = Path("docs/runbook.md")
_RANGE: Final = ("now-24h", "now")
_GOOD: Final = "#73bf69"
_BAD: Final = "#f2495c"
_ALARM: Final[tuple[tuple[float | None, str], ...]] = ((None, "green"), (1, "red"))


def _prom(query: str, alias: str = "") -> Target:
    return Target(PROMETHEUS, query, alias)


def _quantile(share: float, histogram: str, alias: str) -> Target:
    return _prom(
        f"histogram_quantile({share}, sum by (le) (rate({histogram}_bucket[$__rate_interval])))",
        alias,
    )


def _red(pattern: str) -> Override:
    return Override("byRegexp", pattern, {"color": {"mode": "fixed", "fixedColor": _BAD}})


def _hourly(field: str, alias: str) -> Target:
    query = f'SELECT "{field}" FROM "{HOURLY_USAGE.name}" WHERE $timeFilter'
    return daily(query, alias)


INTAKE: Final = Dashboard(
    uid="collector-intake",
    title="Collector: intake",
    description="What senders send, what they are answered, and its way to InfluxDB.",
    file="ops/intake.json",
    tag=TAG,
    range=_RANGE,
    refresh="1m",
    rows=(
        (
            stat(
                "Reports waiting",
                "Accepted reports that InfluxDB does not have yet; the collector's disk has them.",
                _prom("sum(collector_outbox_reports)"),
                width=4,
                steps=((None, "green"), (10_000, "orange"), (100_000, "red")),
            ),
            stat(
                "Oldest waiting",
                "Age of the oldest report that InfluxDB does not have yet. Over 15 minutes is an"
                " alert.",
                _prom("max(collector_outbox_age_seconds)"),
                width=4,
                unit="s",
                steps=((None, "green"), (300, "orange"), (900, "red")),
            ),
            stat(
                "Taking reports",
                "1 while every collector takes reports, 0 while one answers 503.",
                _prom("min(collector_outbox_accepting)"),
                width=4,
                unit="none",
                line=False,
                steps=((None, "red"), (1, "green")),
            ),
            stat(
                "Writer blocked",
                "1 while a writer makes no progress: InfluxDB is away, or denies the token.",
                _prom("max(collector_writer_blocked)"),
                width=4,
                unit="none",
                line=False,
                steps=_ALARM,
            ),
            stat(
                "Dead letters",
                "Lines that InfluxDB refused for good: `collector outbox dead` lists them.",
                _prom("sum(collector_dead_letters)"),
                width=4,
                line=False,
                steps=_ALARM,
            ),
            stat(
                "Rate limit, addresses",
                "Sender addresses, as keyed digests in memory, that the rate limit counts today.",
                _prom("sum(collector_rate_limit_addresses)"),
                width=4,
            ),
        ),
        (
            lines(
                "Reports by outcome",
                "Submissions a second by sender and outcome: accepted, or the reason of refusal.",
                (
                    _prom(
                        "sum by (intake, outcome)"
                        " (rate(collector_reports_total[$__rate_interval]))",
                        "{{intake}} {{outcome}}",
                    ),
                ),
                width=12,
                unit="reqps",
                legend="right",
                overrides=(
                    Override(
                        "byRegexp",
                        "/ accepted$/",
                        {"color": {"mode": "fixed", "fixedColor": _GOOD}},
                    ),
                    _red("/ unavailable$/"),
                ),
            ),
            lines(
                "Refused in 5 minutes, by reason",
                "Submissions refused in the 5 minutes before. `rate-limited` and `unavailable` are"
                " our own doing; the rest is the senders'.",
                (
                    _prom(
                        "sum by (outcome)"
                        ' (increase(collector_reports_total{outcome!="accepted"}[5m]))',
                        "{{outcome}}",
                    ),
                ),
                width=12,
                legend="right",
                overrides=(_red("/^unavailable$/"),),
            ),
        ),
        (
            lines(
                "Time to reply",
                "From a submission's headers to its reply, which comes once the report is durable.",
                (
                    _quantile(0.5, "collector_request_seconds", "half under"),
                    _quantile(0.95, "collector_request_seconds", "95 % under"),
                    _quantile(0.99, "collector_request_seconds", "99 % under"),
                ),
                width=8,
                unit="s",
            ),
            lines(
                "Nodes, by what became of them",
                "Nodes in accepted submissions, a second: stored, or why they were ignored.",
                (
                    _prom(
                        "sum by (outcome) (rate(collector_nodes_total[$__rate_interval]))",
                        "{{outcome}}",
                    ),
                ),
                width=8,
                unit="cps",
                overrides=(painted("stored", _GOOD),),
            ),
            lines(
                "Outbox, reports waiting and their age",
                "Reports that InfluxDB does not have yet (left), age of the oldest (right).",
                (
                    _prom("sum(collector_outbox_reports)", "waiting"),
                    _prom("max(collector_outbox_age_seconds)", "age of the oldest"),
                ),
                width=8,
                overrides=(
                    Override(
                        "byName",
                        "age of the oldest",
                        {"unit": "s", "custom.axisPlacement": "right"},
                    ),
                ),
            ),
        ),
        (
            lines(
                "InfluxDB, time of a write",
                "Time of a write request to InfluxDB.",
                (
                    _quantile(0.5, "collector_writer_request_seconds", "half under"),
                    _quantile(0.95, "collector_writer_request_seconds", "95 % under"),
                ),
                width=8,
                unit="s",
            ),
            lines(
                "InfluxDB, writes by outcome",
                "Write requests to InfluxDB a second, by outcome.",
                (
                    _prom(
                        "sum by (outcome)"
                        " (rate(collector_writer_requests_total[$__rate_interval]))",
                        "{{outcome}}",
                    ),
                ),
                width=8,
                unit="reqps",
                overrides=(painted("written", _GOOD), _red("/^(denied|unavailable|rejected)$/")),
            ),
            lines(
                "Commits of the outbox",
                "Commits a second, each of many reports; a failed one answers its senders 503.",
                (
                    _prom("sum(rate(collector_outbox_commits_total[$__rate_interval]))", "commits"),
                    _prom("sum(rate(collector_outbox_failures_total[$__rate_interval]))", "failed"),
                ),
                width=8,
                unit="cps",
                overrides=(painted("commits", _GOOD), painted("failed", _BAD)),
            ),
        ),
        (
            Panel(
                kind="bargauge",
                title="Tag budgets",
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
                defaults={"min": 0, "max": 1, "color": {"mode": "thresholds"}},
                options={
                    "displayMode": "basic",
                    "orientation": "horizontal",
                    "showUnfilled": True,
                    "minVizWidth": 0,
                    "minVizHeight": 10,
                    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                },
            ),
            lines(
                "Values over budget",
                "Tag values stored as `other` in the hour before, because the budget was spent.",
                (
                    _prom(
                        "sum by (tag) (increase(collector_tag_values_over_budget_total[1h]))",
                        "{{tag}}",
                    ),
                ),
                width=12,
                no_value="none",
            ),
        ),
    ),
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
            stat(
                "Reports against expectation",
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
                steps=_ALARM,
            ),
            stat(
                "Days due",
                "Days that the rollup has still to compute: missing, or changed since.",
                _prom("max(collector_rollup_days_due)"),
                width=4,
                steps=((None, "green"), (3, "orange")),
            ),
            stat(
                "Days refused",
                "Final days that would lose over 20 %: an operator must decide.",
                _prom("max(collector_rollup_days_refused)"),
                width=4,
                line=False,
                steps=_ALARM,
            ),
            stat(
                "Last rollup",
                "Time since days were last looked at with success; every 15 minutes is the rule.",
                _prom("time() - max(collector_rollup_last_success_timestamp_seconds > 0)"),
                width=4,
                unit="s",
                line=False,
                no_value="not since the start",
                steps=((None, "green"), (1800, "orange"), (7200, "red")),
            ),
        ),
        (
            lines(
                "Reports an hour, and what was expected",
                "Reports received in each hour, and the median of the same hour in the 7 days"
                " before. The hour under way is not there.",
                (_hourly("reports", "reports"), _hourly("expected_reports", "expected")),
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
                (_hourly("nodes_24h", "nodes"), _hourly("expected_nodes_24h", "expected")),
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
                    _prom(
                        "sum by (outcome) (increase(collector_rollup_runs_total[1h]))",
                        "{{outcome}}",
                    ),
                ),
                width=8,
                overrides=(painted("written", _GOOD), _red("/^(failed|refused)$/")),
            ),
            lines(
                "Time of a rollup",
                "Time of one day's rollup.",
                (
                    _quantile(0.5, "collector_rollup_seconds", "half under"),
                    _quantile(0.95, "collector_rollup_seconds", "95 % under"),
                ),
                width=8,
                unit="s",
            ),
            lines(
                "Repaired bodies and unlisted nodes",
                "In the hour before: submissions whose JSON was repaired as the client is known to"
                " break it, and nodes that are not on the public list.",
                (
                    _prom("sum(increase(collector_repaired_bodies_total[1h]))", "repaired"),
                    _prom(
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
                    f" WHERE {LAST_DAY} AND \"within\" = '{ALL}'",
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
                    f" WHERE time >= {OVER} - 8d AND time < {OVER} - 7d AND \"within\" = '{ALL}'",
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
                "Nodes in `other`, share of the day",
                "Of each property the nodes whose value was of too few to be named: a rise is a new"
                " value, a spent budget, or a body that is not understood.",
                (
                    daily(
                        f'SELECT sum("nodes") FROM "{DAILY_NODES.name}" WHERE $timeFilter'
                        f" AND time < now() - {COMPLETE_AFTER}m AND \"within\" = '{ALL}'"
                        f" AND \"value\" = '{OTHER}'"
                        ' GROUP BY time(1d), "dimension" fill(none)',
                        "$tag_dimension",
                    ),
                ),
                width=12,
                step=True,
                legend="right",
                no_value="none",
            ),
            lines(
                "Public node list",
                "Nodes on the list in use, and its age; nothing where none is configured.",
                (
                    _prom("max(collector_nodelist_nodes)", "nodes"),
                    _prom("max(collector_nodelist_age_seconds)", "age"),
                ),
                width=12,
                overrides=(
                    Override("byName", "age", {"unit": "s", "custom.axisPlacement": "right"}),
                ),
            ),
        ),
    ),
)

STORAGE: Final = Dashboard(
    uid="collector-storage",
    title="Collector: retention and storage",
    description="How much is kept, for how long, and how much room is left.",
    file="ops/storage.json",
    tag=TAG,
    range=("now-30d", "now"),
    refresh="5m",
    rows=(
        (
            stat(
                "Disk free",
                "Free share of the disk that holds the outbox. Under 10 % is an alert.",
                _prom("min(collector_disk_free_bytes / collector_disk_size_bytes)"),
                width=6,
                unit="percentunit",
                steps=((None, "red"), (0.1, "orange"), (0.2, "green")),
                defaults={"min": 0, "max": 1},
            ),
            stat(
                "Disk free, bytes",
                "Room left for the collector on the disk of the outbox.",
                _prom("min(collector_disk_free_bytes)"),
                width=6,
                unit="bytes",
            ),
            stat(
                "Outbox on disk",
                "Size of the outbox, with the delivered lines that are kept for replay.",
                _prom("sum(collector_outbox_bytes)"),
                width=6,
                unit="bytes",
            ),
            stat(
                "Oldest raw report",
                "Raw reports before this are gone, as the retention of usage_raw says.",
                Target(
                    USAGE_RAW,
                    f'SELECT first("nodes") FROM "{SERVER_REPORT.name}" WHERE time < now()',
                    table=True,
                ),
                width=6,
                unit="time:YYYY-MM-DD",
                colour="text",
                line=False,
                fields="/^Time$/",
                no_value="none",
            ),
        ),
        (
            lines(
                "Disk",
                "Room left on the disk of the outbox, and the outbox itself.",
                (
                    _prom("min(collector_disk_free_bytes)", "free"),
                    _prom("sum(collector_outbox_bytes)", "outbox"),
                ),
                width=12,
                unit="bytes",
                overrides=(painted("free", _GOOD), painted("outbox", "#5794f2")),
            ),
            lines(
                "Raw reports a day",
                "Reports in usage_raw by the day (UTC) on which they came: what can still be"
                " computed again.",
                (
                    Target(
                        USAGE_RAW,
                        f'SELECT count("nodes") FROM "{SERVER_REPORT.name}" WHERE $timeFilter'
                        " GROUP BY time(1d) fill(0)",
                        "raw",
                    ),
                    daily(
                        f'SELECT "reports" FROM "{DAILY_USAGE.name}" WHERE $timeFilter',
                        "in the daily series",
                    ),
                ),
                width=12,
                step=True,
                overrides=(painted("raw", "#5794f2"), painted("in the daily series", "#ff9830")),
            ),
        ),
        (
            lines(
                "InfluxDB 2 on disk, by bucket",
                "Size of InfluxDB's shards on disk; InfluxDB 2 alone tells it.",
                (_prom("sum by (bucket) (storage_shard_disk_size)", "{{bucket}}"),),
                width=12,
                unit="bytes",
                stacked="normal",
                no_value="InfluxDB 2 alone tells it",
            ),
            lines(
                "Lines written to InfluxDB",
                "Lines a second by what became of them: written, or set aside as dead letters.",
                (
                    _prom(
                        "sum by (outcome) (rate(collector_writer_lines_total[$__rate_interval]))",
                        "{{outcome}}",
                    ),
                ),
                width=12,
                unit="cps",
                overrides=(painted("written", _GOOD), painted("dead-letter", _BAD)),
            ),
        ),
    ),
)


def runbook(root: Path) -> Dashboard:
    """docs/runbook.md as a dashboard, a panel a heading, so that an alert can link to its own."""
    head, *parts = re.split(r"(?m)^## ", (root / RUNBOOK).read_text(encoding="utf-8"))
    panels = [_page("About", head.partition("\n")[2].strip(), 5)]
    for part in parts:
        title, _, body = part.partition("\n")
        panels.append(_page(title.strip(), body.strip(), 9))
    return Dashboard(
        uid="collector-runbook",
        title="Collector: runbook",
        description="What each alert means, how to look, what to do: docs/runbook.md.",
        file="ops/runbook.json",
        tag=TAG,
        range=_RANGE,
        rows=tuple((panel,) for panel in panels),
    )


def _page(title: str, markdown: str, height: int) -> Panel:
    panel = text(markdown, height)
    options = {"mode": "markdown", "content": markdown}
    return replace(panel, title=title, description=f"From the runbook: {title}.", options=options)


DASHBOARDS: Final = (INTAKE, HEALTH, STORAGE)
