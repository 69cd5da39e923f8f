"""The alerts about the collector itself: its metrics against bounds."""

from __future__ import annotations

from typing import Final

from tools.dashboards.rules import Rule, compared, metric, shown

OUTBOX_BACKLOG: Final = compared(
    "OutboxBacklog",
    "warning",
    f"The oldest report that InfluxDB does not have is {shown('age')} seconds old;"
    f" {shown('waiting')} reports wait, safe on the collector's disk.",
    metric("age", "max(collector_outbox_age_seconds)"),
    metric("waiting", "sum(collector_outbox_reports)"),
    firing="$age > 900",
    lasting="5m",
)

DEAD_LETTERS: Final = compared(
    "DeadLetters",
    "warning",
    f"{shown('lines')} lines were refused for good by their target; they are set aside.",
    metric("lines", "sum(collector_dead_letters)"),
    firing="$lines > 0",
    lasting="5m",
)

INFLUX_UNREACHABLE: Final = compared(
    "InfluxUnreachable",
    "critical",
    "Delivery to {{ .Labels.target }} makes no progress: {{ .Labels.reason }}. Reports are taken in"
    " all the same, and are safe on the collector's disk.",
    metric("blocked", 'max by (target, reason) (collector_writer_blocked{reason!="outbox"})'),
    firing="$blocked > 0",
    lasting="5m",
)

_FREE: Final = "collector_disk_free_bytes / collector_disk_size_bytes"
DISK_LOW: Final = compared(
    "DiskLow",
    "critical",
    f"{shown('free', '%.2f')} of the outbox's disk is free. With none left senders get 503,"
    " and do not come back before the next day.",
    metric("free", f"min({_FREE})"),
    metric("lowest", f"min(min_over_time(({_FREE})[6h:5m]))"),
    firing="($free < 0.1) || (($lowest < 0.1) && ($free < 0.12))",
    lasting="15m",
)

CARDINALITY: Final = compared(
    "CardinalityBudget",
    "warning",
    "The tag {{ .Labels.tag }} has spent"
    f" {shown('spent', '%.2f')} of its budget of values; past it new ones become `other`.",
    metric("spent", "max by (tag) (collector_tag_values / collector_tag_budget)"),
    firing="$spent > 0.8",
    lasting="15m",
)

ERASURES: Final = compared(
    "ErasuresWaiting",
    "warning",
    f"Owners wait to be erased: {shown('queued')} erasures for an operator,"
    f" {shown('waiting')} for InfluxDB.",
    metric("queued", "sum(collector_erasures_queued)"),
    metric("waiting", "sum(collector_erasures_waiting)"),
    firing="$queued + $waiting > 0",
    # One that InfluxDB is at takes minutes; an outage of it has an alert of its own.
    lasting="1h",
)

SET_ASIDE: Final = compared(
    "OutboxSetAside",
    "critical",
    f"{shown('files', '%.0f')} damaged outboxes are set aside: reports in them may be nowhere"
    " else. The collector goes on with a new one.",
    metric("files", "sum(collector_outboxes_set_aside)"),
    firing="$files > 0",
    lasting="1m",
)

DAYS_FAILING: Final = compared(
    "DaysFailing",
    "warning",
    f"{shown('days', '%.0f')} days cannot be computed. All other days go on; these stay as they"
    " were stored last.",
    metric("days", "max(collector_rollup_days_failing)"),
    firing="$days > 0",
    # A passing fault of InfluxDB is over by then.
    lasting="1h",
)

CLOCK_WRONG: Final = compared(
    "ClockWrong",
    "critical",
    "The collector's clock cannot be right. Reports are taken and wait in the outbox until it"
    " is set.",
    metric("wrong", "max(collector_clock_wrong)"),
    firing="$wrong > 0",
    lasting="5m",
)

RULES: Final[tuple[Rule, ...]] = (
    OUTBOX_BACKLOG,
    SET_ASIDE,
    DEAD_LETTERS,
    INFLUX_UNREACHABLE,
    DISK_LOW,
    CARDINALITY,
    ERASURES,
    DAYS_FAILING,
    CLOCK_WRONG,
)
