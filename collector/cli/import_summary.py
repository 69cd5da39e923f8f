"""The summary that `collector import asl3-usage` prints before it writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final

from collector.cli.common import say, warn
from collector.history.asl3_rows import Gap, PassedOver
from collector.history.asl3_usage import OldData, Plan
from collector.settings import Settings, shown

_DAYS_SHOWN: Final = 10
_WARNING: Final = (
    "The imported days count every node that the old server had ever seen; ours count the nodes"
    " that reported on the day. The old series cannot fall and stands higher: the two levels"
    " cannot be compared. Imported days have the field `imported` = 1."
)
_MEANINGS: Final = {
    PassedOver.NULL_VALUE: "a value that must be there is NULL",
    PassedOver.ZERO_DATE: "the date is 0000-00-00",
    PassedOver.BAD_DATE: "the date is none, or before 1970",
    PassedOver.BAD_NUMBER: "a number is none, or under 0",
    PassedOver.BAD_UUID: "the server's identity is no UUID",
    PassedOver.PRIVATE: "the node number is a private one",
    PassedOver.SUPERSEDED: "there is a later row of the same date",
    PassedOver.NOT_ENDED: "the day has not ended: it may become one of our own",
    PassedOver.EXPIRED: "older than what is kept here",
    PassedOver.IN_THE_FUTURE: "later than now: is --time-zone right?",
    PassedOver.OPTED_OUT: "the server's owner wants no reports kept",
    PassedOver.REPORTED_TO_US: "the server reported to us too that day",
    PassedOver.ALREADY_IMPORTED: "there already from an earlier import",
    "unlisted": "the node is not in the public list",
    "duplicate": "the node is twice in one report",
}
_GAPS: Final = {
    Gap.NO_CHANNEL: "nodes without a channel driver, as `unknown`",
    Gap.BAD_PACKAGES: "nodes whose package list is not usable, without it",
    Gap.CHANNELS_CONTRADICT: "days with more nodes on channels than nodes, without channels",
}


def tell(data: OldData, plan: Plan, configured: Settings) -> None:
    """Print what an import found, what it will write, and what it passes over and why."""
    days = [day.day for day in data.days]
    say(f"asl_usage: {data.rows['asl_usage']} rows{_range(days)}")
    say(f"  {len(plan.days)} days to write, {len(plan.changed)} of them anew")
    say(f"  {len(plan.unchanged)} days there already from an earlier import")
    say(f"  {len(plan.own_days)} days in conflict with our own, which are kept")
    _list(plan.own_days)
    _reasons(plan.days_passed)
    reported = [datetime.fromtimestamp(node.written_s, UTC).date() for node in data.nodes]
    say(f"nodes: {data.rows['nodes']} rows{_range(reported)}")
    say(f"  {len(plan.reports)} reports to write, of {plan.nodes} nodes")
    expired = plan.nodes_passed[PassedOver.EXPIRED]
    kept = shown(configured)["COLLECTOR_RETENTION_RAW"]
    say(f"  {expired} nodes outside of raw retention ({kept})")
    _reasons(plan.nodes_passed)
    for gap, meaning in _GAPS.items():
        if plan.gaps[gap]:
            say(f"  {plan.gaps[gap]} taken in part ({gap}): {meaning}")
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
        meaning = _MEANINGS.get(reason, "what the intake refuses a report for")
        say(f"  {count} passed over ({reason}): {meaning}")
