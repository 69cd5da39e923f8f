"""Summary that `collector import asl3-usage` prints before it writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final

from collector.cli.common import say, warn
from collector.history.asl3_rows import Gap, Skipped
from collector.history.asl3_usage import Plan, SourceTables
from collector.settings import Settings, shown

_DAYS_SHOWN: Final = 10
_WARNING: Final = (
    "Imported days count every node that the old server had ever seen; other days count the nodes"
    " that reported on the day. The old series never falls and is higher: do not compare the two"
    " levels. Imported days have the field `imported` = 1."
)
_MEANINGS: Final = {
    Skipped.NULL_VALUE: "a required value is NULL",
    Skipped.ZERO_DATE: "the date is 0000-00-00",
    Skipped.BAD_DATE: "the date is invalid or before 1970",
    Skipped.BAD_NUMBER: "a number is invalid or under 0",
    Skipped.BAD_UUID: "the server's identity is not a UUID",
    Skipped.PRIVATE: "the node number is private",
    Skipped.SUPERSEDED: "there is a later row of the same date",
    Skipped.NOT_ENDED: "the day has not ended: it may become one of our own",
    Skipped.EXPIRED: "older than the retention",
    Skipped.IN_THE_FUTURE: "later than now: is --time-zone right?",
    Skipped.OPTED_OUT: "the server's owner has opted out",
    Skipped.REPORTED_TO_US: "the server reported to us too that day",
    Skipped.ALREADY_IMPORTED: "stored already by an earlier import",
    "unlisted": "the node is not in the public list",
    "duplicate": "the node is twice in one report",
}
_GAPS: Final = {
    Gap.NO_CHANNEL: "nodes without a channel driver, as `unknown`",
    Gap.BAD_PACKAGES: "nodes whose package list is not usable, without it",
    Gap.CHANNELS_CONTRADICT: "days with more nodes on channels than nodes, without channels",
}


def print_summary(data: SourceTables, plan: Plan, configured: Settings) -> None:
    """Print what an import found, what it will write, and what it skips and why."""
    days = [day.day for day in data.days]
    say(f"asl_usage: {data.rows['asl_usage']} rows{_range(days)}")
    say(f"  {len(plan.days)} days to write, {len(plan.changed)} of them replaced")
    say(f"  {len(plan.unchanged)} days unchanged since an earlier import")
    say(f"  {len(plan.own_days)} days in conflict with the collector's own, which stay unchanged")
    _list(plan.own_days)
    _reasons(plan.skipped_days)
    reported = [datetime.fromtimestamp(node.written_s, UTC).date() for node in data.nodes]
    say(f"nodes: {data.rows['nodes']} rows{_range(reported)}")
    say(f"  {len(plan.reports)} reports to write, of {plan.nodes} nodes")
    expired = plan.skipped_nodes[Skipped.EXPIRED]
    retention = shown(configured)["COLLECTOR_RETENTION_RAW"]
    say(f"  {expired} nodes outside of raw retention ({retention})")
    _reasons(plan.skipped_nodes)
    for gap, meaning in _GAPS.items():
        if plan.gaps[gap]:
            say(f"  {plan.gaps[gap]} imported in part ({gap}): {meaning}")
    warn(f"\n{_WARNING}")


def _range(days: Sequence[date]) -> str:
    return f", {min(days)} to {max(days)}" if days else ""


def _list(days: Sequence[date]) -> None:
    for day in days[:_DAYS_SHOWN]:
        say(f"    {day}")
    if len(days) > _DAYS_SHOWN:
        say(f"    and {len(days) - _DAYS_SHOWN} more, to {days[-1]}")


def _reasons(passed: Counter[str]) -> None:
    for reason, count in sorted(passed.items()):
        meaning = _MEANINGS.get(reason, "a reason for which the intake refuses reports")
        say(f"  {count} skipped ({reason}): {meaning}")
