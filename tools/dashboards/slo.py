"""The service's objectives, what they are measured by, and the alerts that burn on them.

docs/slo.md says them in words. Windows and rates are those of the multi-window, multi-burn-rate
alerts of Google's SRE Workbook, chapter 5.
"""

from __future__ import annotations

from typing import Final

from tools.dashboards.model import PROMETHEUS
from tools.dashboards.rules import Math, Node, Rule, number, shown

ACCEPTED_BUDGET: Final = 0.005
"""Share of reports that may be lost in 30 days."""
FRESH_BUDGET: Final = 0.01
"""Share of the time in 30 days in which the published series may be behind."""
BEHIND_S: Final = 3600
"""Published series are behind from this age on of the oldest report that is not in them."""
PERIOD: Final = "30d"

_FAST: Final = 14.4
_STEADY: Final = 6
_SLOW: Final = 1
_FLEET_LEAST: Final = 20
_REFUSED_LEAST: Final = 4
# A collector's own job alone: Prometheus watches InfluxDB too.
_UP: Final = 'up{job="collector"}'


def lost(window: str, *, least: int = 0) -> str:
    """Share of the reports of a window that were not accepted or not stored, 0..1.

    Three ways to lose one, added up: the collector could not be reached, it answered 503, InfluxDB
    refused the lines for good. Up to `least` refusals are none: of few reports they are a big
    share.
    """
    refused = f'sum(increase(collector_reports_total{{outcome="unavailable"}}[{window}]))'
    reports = f'sum(increase(collector_reports_total{{outcome=~"accepted|unavailable"}}[{window}]))'
    dead = f'sum(increase(collector_writer_lines_total{{outcome="dead-letter"}}[{window}]))'
    lines = f"sum(increase(collector_writer_lines_total[{window}]))"
    return (
        f"1 - avg(avg_over_time({_UP}[{window}]))"
        f" + ((({refused} > {least}) / {reports}) or vector(0))"
        f" + ((({dead} > {least}) / {lines}) or vector(0))"
    )


def behind(window: str, step: str) -> str:
    """Share of a window in which the published series were behind, 0..1, looked at each `step`.

    The rollup's last success says up to when what InfluxDB had is published, the outbox's age what
    InfluxDB did not have. A collector that is down publishes nothing.
    """
    age = "max(collector_outbox_age_seconds)"
    since = "time() - max(collector_rollup_last_success_timestamp_seconds)"
    bad = f"({age} + {since} > bool {BEHIND_S}) or (1 + 0 * max({_UP}))"
    return f"avg_over_time(({bad})[{window}:{step}])"


def burn(share: str, budget: float) -> str:
    """How many times faster than it lasts a budget is spent."""
    return f"({share}) / {budget}"


def left(share: str, budget: float) -> str:
    """What a period has left of its budget: 1 untouched, 0 spent, below 0 overdrawn."""
    return f"1 - ({share}) / {budget}"


def _lost(name: str, window: str, *, least: int = 0) -> tuple[Node, ...]:
    return number(name, burn(lost(window, least=least), ACCEPTED_BUDGET), PROMETHEUS, 600)


def _behind(name: str, window: str, step: str) -> tuple[Node, ...]:
    return number(name, burn(behind(window, step), FRESH_BUDGET), PROMETHEUS, 600)


# Neither a collector nor a Prometheus of the first three days has an objective to miss.
_WATCHED: Final = number("watched", f"count(count_over_time({_UP}[1h] offset 3d))", PROMETHEUS, 600)
_FLEET: Final = number(
    "fleet",
    'sum(increase(collector_reports_total{outcome="accepted"}[7d])) / 7',
    PROMETHEUS,
    600,
)
_GUARD: Final = f"($watched > 0) && ($fleet >= {_FLEET_LEAST})"

ACCEPTED_FAST: Final = Rule(
    title="AcceptanceBudgetFast",
    severity="critical",
    summary=(
        "Reports are being lost: the budget of 30 days is spent"
        f" {shown('hour', '%.1f')} times as fast as it lasts over the last hour,"
        f" {shown('six_hours', '%.1f')} times over the last 6 hours."
    ),
    nodes=(
        *_lost("hour", "1h", least=_REFUSED_LEAST),
        *_lost("five_minutes", "5m"),
        *_lost("six_hours", "6h", least=_REFUSED_LEAST),
        *_lost("half_hour", "30m"),
        *_WATCHED,
        *_FLEET,
        Math(
            "burning",
            f"(($hour > {_FAST}) && ($five_minutes > {_FAST}))"
            f" || (($six_hours > {_STEADY}) && ($half_hour > {_STEADY}))",
        ),
        Math("firing", f"$burning && {_GUARD}"),
    ),
    lasting="2m",
)

ACCEPTED_SLOW: Final = Rule(
    title="AcceptanceBudgetSlow",
    severity="warning",
    summary=(
        "Reports are being lost, a few at a time: the budget of 30 days is spent"
        f" {shown('three_days', '%.1f')} times as fast as it lasts over the last 3 days."
    ),
    nodes=(
        *_lost("three_days", "3d", least=_REFUSED_LEAST),
        *_lost("six_hours", "6h"),
        *_WATCHED,
        *_FLEET,
        Math("firing", f"($three_days > {_SLOW}) && ($six_hours > {_SLOW}) && {_GUARD}"),
    ),
    lasting="15m",
)

FRESH: Final = Rule(
    title="FreshnessBudget",
    severity="warning",
    summary=(
        "The published series are over an hour behind: the budget of 30 days is spent"
        f" {shown('six_hours', '%.1f')} times as fast as it lasts over the last 6 hours,"
        f" {shown('three_days', '%.1f')} times over the last 3 days."
    ),
    nodes=(
        *_behind("six_hours", "6h", "5m"),
        *_behind("half_hour", "30m", "1m"),
        *_behind("three_days", "3d", "15m"),
        *_WATCHED,
        Math(
            "burning",
            f"(($six_hours > {_STEADY}) && ($half_hour > {_STEADY}))"
            f" || (($three_days > {_SLOW}) && ($six_hours > {_SLOW}))",
        ),
        Math("firing", "$burning && ($watched > 0)"),
    ),
    lasting="15m",
)

RULES: Final = (ACCEPTED_FAST, ACCEPTED_SLOW, FRESH)
