"""The alerts: an operator is woken when nodes stop reporting, and not otherwise."""

from __future__ import annotations

from typing import Final

from collector.schema import ALL, DAILY_NODES, DAILY_USAGE, HOURLY_USAGE, OTHER
from tools.dashboards import alerts_collector, alerts_live
from tools.dashboards.model import PROMETHEUS, USAGE_DAILY
from tools.dashboards.queries import COMPLETE_AFTER, DONE
from tools.dashboards.rules import (
    Ask,
    Group,
    Math,
    Node,
    Reduce,
    Rule,
    number,
    shown,
)
from tools.dashboards.slo import RULES as OBJECTIVES

FLEET_LEAST: Final = 20
"""Nodes under which a fleet raises no alert about its nodes."""

_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR
# An hour's row is there for certain this long after the hour's start: the hour itself, the
# quarter of an hour between two runs of the rollup, and five minutes for the run.
_ROW: Final = _HOUR + 20 * 60
_COMPLETE: Final = COMPLETE_AFTER * 60
# Ranges take in both ends: a second less, or a range of three hours may hold four rows.
_OPEN: Final = 1


def _hours(name: str, field: str, *, before: int = 0) -> tuple[Node, ...]:
    """The sum of a field over the last 3 full hours, or over those `before` hours earlier."""
    until = _ROW + before * _HOUR
    return number(
        name,
        f'SELECT sum("{field}") FROM "{HOURLY_USAGE.name}" WHERE $timeFilter',
        USAGE_DAILY,
        until + 3 * _HOUR - _OPEN,
        until,
    )


NODES_DROP_FAST: Final = Rule(
    title="NodesDropFast",
    severity="critical",
    summary=(
        f"Only {shown('reports')} reports in the last 3 full hours;"
        f" {shown('expected')} were expected."
    ),
    nodes=(
        *_hours("reports", "reports"),
        *_hours("expected", "expected_reports"),
        *_hours("reports_before", "reports", before=1),
        *_hours("expected_before", "expected_reports", before=1),
        Math(
            "under",
            "($reports < 0.5 * $expected)"
            # Once under half it stays so up to 65 %, or it would come and go at the threshold.
            " || (($reports_before < 0.5 * $expected_before) && ($reports < 0.65 * $expected))",
        ),
        # Four standard deviations of a count: few reports an hour prove nothing.
        Math("firing", "$under && ($expected - $reports > 4 * ($expected ** 0.5))"),
    ),
    lasting="10m",
)


def _slow_rows(name: str, field: str) -> Ask:
    return Ask(
        name,
        USAGE_DAILY,
        f'SELECT "{field}" FROM "{HOURLY_USAGE.name}" WHERE $timeFilter',
        _ROW + _DAY - _OPEN,
        _ROW,
    )


NODES_DROP_SLOW: Final = Rule(
    title="NodesDropSlow",
    severity="warning",
    summary=(
        f"{shown('nodes')} nodes in the last 24 hours; {shown('expected')} were expected"
        f" ({shown('share', '%.2f')} of them are there)."
    ),
    nodes=(
        _slow_rows("nodes_rows", "nodes_24h"),
        _slow_rows("expected_rows", "expected_nodes_24h"),
        Reduce("nodes", "nodes_rows"),
        Reduce("expected", "expected_rows"),
        Math("shares", "$nodes_rows / $expected_rows"),
        Reduce("share", "shares"),
        Reduce("lowest", "shares", "min"),
        Reduce("highest", "shares", "max"),
        Math(
            "under",
            # A day that never rose over 90 % keeps it, or it would come and go at the threshold.
            "($share < 0.85) || (($lowest < 0.85) && ($highest < 0.9))",
        ),
        Math(
            "firing",
            f"$under && ($expected >= {FLEET_LEAST}) && ($expected - $nodes >= 10)",
        ),
    ),
    lasting="2h",
)


def _heard(window: str, offset: str = "") -> str:
    """Reports accepted in a window, perhaps of days ago; nothing where Prometheus has nothing."""
    when = f" offset {offset}" if offset else ""
    return f'sum(increase(collector_reports_total{{outcome="accepted"}}[{window}]{when}))'


def _silence(name: str, window: str) -> tuple[Node, ...]:
    """Reports heard in a window until now, and in `name_usual` what is heard then on other days.

    Clients keep their time of day: a gap that is there every day is none. The greater of yesterday
    and a week ago; over every threshold where Prometheus reaches back to neither.
    """
    day, week = _heard(window, "1d"), _heard(window, "7d")
    return (
        *number(
            name,
            f"({_heard(window)} or vector(0))"
            # A Prometheus that has itself not watched for so long has nothing to say.
            f' and on() count(up{{job="collector"}} offset {window})',
            PROMETHEUS,
            600,
        ),
        *number(
            f"{name}_usual", f"({day} > {week}) or {week} or {day} or vector(6)", PROMETHEUS, 600
        ),
    )


NO_REPORTS: Final = Rule(
    title="NoReports",
    severity="critical",
    summary=(
        "Not one report was accepted in the last 30 minutes;"
        f" {shown('expected')} an hour were expected at this time of day."
    ),
    nodes=(
        *_silence("half_hour", "30m"),
        *_silence("hour", "1h"),
        # The hour that is under way has no row yet: the same hour of yesterday has. Where there
        # is none, as after a day of standing still, the last one before.
        *number(
            "expected",
            f'SELECT last("expected_reports") FROM "{HOURLY_USAGE.name}" WHERE $timeFilter',
            USAGE_DAILY,
            8 * _DAY,
            _DAY,
        ),
        Math(
            "firing",
            "(($half_hour < 0.5) && (0.5 * $expected > 5) && ($half_hour_usual > 5))"
            # A whole hour says it too, so that a quiet half hour ends no outage.
            " || (($hour < 0.5) && ($expected > 5) && ($hour_usual > 5))",
        ),
    ),
    lasting="5m",
)


def _day(name: str, query: str, *, days: int = 1, ago: int = 0) -> tuple[Node, ...]:
    """A number of the last complete day, or of the one `ago` days earlier; of `days` to it."""
    until = _COMPLETE + ago * _DAY
    return number(name, query, USAGE_DAILY, until + days * _DAY - _OPEN, until)


_TABLE: Final = (
    f'SELECT sum("nodes") FROM "{DAILY_NODES.name}" WHERE $timeFilter AND {DONE}'
    f" AND \"within\" = '{ALL}' AND \"value\" != '{OTHER}'"
)
_NODES: Final = f'SELECT last("nodes") FROM "{DAILY_USAGE.name}" WHERE $timeFilter AND {DONE}'
VANISHED: Final = Rule(
    title="VersionOrArchVanished",
    severity="warning",
    summary=(
        "{{ .Labels.dimension }} {{ .Labels.value }}:"
        f" {shown('nodes')} nodes on the last complete day, {shown('was')} a week before,"
        " while the network as a whole has lost nothing like it."
    ),
    nodes=(
        # Over a week with zeros in the gaps: what has gone altogether must still have a row.
        *_day("nodes", f'{_TABLE} GROUP BY time(1d), "dimension", "value" fill(0)', days=8),
        *_day("was", f'{_TABLE} GROUP BY "dimension", "value"', ago=7),
        *_day("named", f'{_TABLE} GROUP BY "dimension"'),
        *_day("total", _NODES),
        *_day("total_was", _NODES, ago=7),
        # What suppression has put into `other` may be all of the missing: that proves nothing.
        Math("hidden", "$total - $named"),
        Math(
            "firing",
            f"($was >= {FLEET_LEAST}) && ($was > 0.05 * $total_was)"
            " && ($nodes + $hidden < 0.5 * $was) && ($total > 0.5 * $total_was)",
        ),
    ),
    lasting="0s",
)

SERIES_LATE: Final = Rule(
    title="DailySeriesLate",
    severity="warning",
    summary="A day that ended over 4 hours ago is not complete in the published series.",
    nodes=(
        *number(
            "complete",
            f'SELECT count("final") FROM "{DAILY_USAGE.name}" WHERE $timeFilter AND {DONE}'
            " GROUP BY time(1d) fill(0)",
            USAGE_DAILY,
            60 * _DAY,
            _DAY + 4 * _HOUR,
        ),
        Math("firing", "$complete < 1"),
    ),
    lasting="15m",
)

GROUPS: Final = (
    Group("hours", "5m", (NO_REPORTS, NODES_DROP_FAST, NODES_DROP_SLOW)),
    Group("days", "15m", (VANISHED, SERIES_LATE)),
    Group("collector", "1m", alerts_collector.RULES),
    Group("objectives", "2m", OBJECTIVES),
    Group("asterisk", "1m", (*alerts_live.STATSD, *alerts_live.AMI)),
    Group("asterisk-usual", "5m", alerts_live.USUAL),
)
RULES: Final = tuple(rule for group in GROUPS for rule in group.rules)
