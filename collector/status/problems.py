"""Findings of a status, by the thresholds of the alerts. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from collector.setting_types import format_duration
from collector.status.report import Finding, Status

_BACKLOG_S: Final = 900
_LEAST_FREE: Final = 0.1
_FULL: Final = 0.8
_DAY_DUE: Final = timedelta(hours=4)
"""Time after the end of a day by which it must be final."""
_LEAST_NODES: Final = 0.85
_MISSING_NODES: Final = 10
_FEW_REPORTS: Final = 5
_ENDS_SOON: Final = timedelta(days=21)

Problem = tuple[str, bool, str, str, str]
"""Check, whether it is good, the text, what to do, and the heading of the runbook."""


def examined(status: Status) -> list[Finding]:
    """A finding for each thing that a status tells, good or not."""
    parts = (_process, _outbox, _disk, _days, _nodes, _owners, _clock, _certificates)
    return [
        Finding(check=check, good=good, text=text, do="" if good else do, runbook=runbook)
        for part in parts
        for check, good, text, do, runbook in part(status)
    ]


def _process(status: Status) -> Iterator[Problem]:
    process = status.collector
    if not process.running:
        yield (
            "running",
            False,
            f"the collector does not run: {process.why}",
            "start it (`systemctl start collector`, `docker compose up -d`); if it ends again, its"
            " log says why (`journalctl -u collector -n 50`). If it runs with other settings, give"
            " this command the same COLLECTOR_METRICS_LISTEN",
            "NoReports",
        )
        return
    yield (
        "ready",
        not process.why,
        f"the collector is not well: {process.why}" if process.why else "the collector runs",
        "senders get 503 while it takes no reports: see the outbox and the disk below; a loop that"
        " failed is started again by itself, and the log says why it failed",
        "NoReports",
    )


def _outbox(status: Status) -> Iterator[Problem]:
    outbox = status.outbox
    reports, age = sum(outbox.waiting.values()), outbox.oldest_age_s or 0
    if outbox.problem:
        yield (
            "outbox-readable",
            False,
            f"the outbox cannot be read: {outbox.problem}",
            "run this command as the user of the collector, or as root; a damaged outbox is set"
            " aside when the collector starts, and `collector outbox recover --all` empties it",
            "OutboxSetAside",
        )
        return
    yield (
        "outbox-backlog",
        age <= _BACKLOG_S,
        f"{reports} reports wait in the outbox"
        + (f", the oldest for {format_duration(age)}" if reports else ""),
        "bring the target back (see the line of InfluxDB); the backlog is delivered by itself",
        "OutboxBacklog",
    )
    for blocked in outbox.blocked:
        yield (
            "delivery",
            False,
            f"delivery makes no progress to {blocked}",
            "see the lines of the target, and the log, which has its own words; reports wait in the"
            " outbox as long as it has room",
            "InfluxUnreachable",
        )
    if outbox.dead_letters:
        reason, count = max(outbox.refusals.items(), key=lambda one: one[1])
        yield (
            "dead-letters",
            False,
            f"{outbox.dead_letters} dead letters; {count} were refused with: {reason}",
            "remove the cause, then `collector outbox retry`; if that cannot be done,"
            " `collector outbox drop --dead`",
            "DeadLetters",
        )
    used = outbox.bytes / outbox.limit_bytes if outbox.limit_bytes else 0
    yield (
        "outbox-size",
        used < _FULL,
        f"the outbox uses {used:.0%} of COLLECTOR_OUTBOX_MAX",
        "senders get 503 when it is full: bring InfluxDB back, or raise COLLECTOR_OUTBOX_MAX if the"
        " disk has room, and restart the collector",
        "OutboxBacklog",
    )


def _disk(status: Status) -> Iterator[Problem]:
    disk = status.disk
    if disk.free_bytes is None or not disk.size_bytes:
        return
    free = disk.free_bytes / disk.size_bytes
    yield (
        "disk",
        free >= _LEAST_FREE,
        f"{free:.0%} of the disk of {disk.path} is free",
        "free disk space; never delete the outbox's files. `collector retention plan` shows what a"
        " shorter retention would delete",
        "DiskLow",
    )


def _days(status: Status) -> Iterator[Problem]:
    day, alerts = status.last_day.day, status.alerts
    due = (status.made - _DAY_DUE).date() - timedelta(days=1)
    if day is not None:
        late = day < due
        yield (
            "last-day",
            not late,
            f"the newest final day is {day}" + (f"; {due} should be final" if late else ""),
            f"compute it: `collector rollup --from {day + timedelta(days=1)} --to {due}`; the"
            " collector does so by itself while it runs and InfluxDB answers",
            "DailySeriesLate",
        )
    if alerts.days_failing:
        yield (
            "days-failing",
            False,
            f"the computation of {alerts.days_failing} days fails",
            "the log names the days and the reason; `collector verify --from DAY` shows a day's",
            "DaysFailing",
        )


def _nodes(status: Status) -> Iterator[Problem]:
    nodes, expected = status.alerts.nodes_24h, status.alerts.expected_nodes_24h
    if nodes is not None and expected:
        few = nodes < _LEAST_NODES * expected and expected - nodes >= _MISSING_NODES
        yield (
            "nodes",
            not few,
            f"{nodes} nodes reported in 24 hours, {nodes / expected:.0%} of the usual number",
            "look for refusals in `collector status` and for the values that fell on the dashboard"
            " Data health",
            "NodesDropSlow",
        )
    intake = status.intake
    if intake.reports == 0 and (intake.expected_reports or 0) > _FEW_REPORTS:
        yield (
            "reports",
            False,
            f"no report came in the hour from {intake.hour:%H:%M} UTC;"
            f" {intake.expected_reports:.0f} are usual",
            "post a report from outside, and repair the network path (DNS, certificate, proxy,"
            " firewall) if it does not arrive",
            "NoReports",
        )


def _owners(status: Status) -> Iterator[Problem]:
    if queued := status.alerts.erasures_queued:
        yield (
            "erasures",
            False,
            f"{queued} erasures wait for an operator",
            "look at them with `collector my-data queue`, then `collector my-data release` or"
            " `collector my-data drop`",
            "ErasuresWaiting",
        )
    if behind := status.alerts.orders_behind:
        yield (
            "orders",
            False,
            f"owners' erasures or choices are not carried out yet by {', '.join(behind)}",
            "look again in a minute; if it does not run, start it, or, if its files are gone for"
            " good, `collector my-data forget NAME`",
            "ErasuresWaiting",
        )


def _clock(status: Status) -> Iterator[Problem]:
    if status.alerts.clock_wrong:
        yield (
            "clock",
            False,
            "the clock cannot be right",
            "set it (`timedatectl`); the times of reports received meanwhile are corrected then",
            "ClockWrong",
        )


def _certificates(status: Status) -> Iterator[Problem]:
    for one in status.certificates:
        soon = one.ends is not None and one.ends - status.made < _ENDS_SOON
        text = f"the certificate at {one.address} ({one.setting})"
        text += f": {one.problem}" if one.ends is None else f" ends on {one.ends:%Y-%m-%d}"
        yield (
            "certificate",
            one.ends is not None and not soon,
            text,
            "renew it; a client whose connection fails loses its report of that day",
            "",
        )
