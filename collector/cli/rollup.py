"""`collector rollup` and `collector verify`."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from collector.cli.common import (
    a_day,
    days_between,
    err,
    fail,
    load_settings,
    out,
    say,
    worded_errors,
)

if TYPE_CHECKING:
    from collector.rollup.daily import DayResult
    from collector.rollup.verify import Verified
    from collector.settings import Settings

First = Annotated[date, typer.Option("--from", parser=a_day, metavar="DATE", help="first day, UTC")]
Last = Annotated[
    date | None, typer.Option("--to", parser=a_day, metavar="DATE", help="last day, included")
]
Force = Annotated[
    bool, typer.Option("--force", help="store a final day even where it loses over 20 %")
]


def rollup(
    from_: First,
    to: Last = None,
    force: Force = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="leave out days that are stored and unchanged")
    ] = False,
) -> None:
    """Compute the daily series of these days anew from their raw reports."""
    from collector.rollup.daily import Outcome

    days = _days(from_, to)
    configured = load_settings()
    with worded_errors():
        results = asyncio.run(_roll(configured, days, force=force, resume=resume))
    table = Table("day", "outcome", "reports", "servers", "nodes", "final")
    for result in results:
        table.add_row(
            result.day.isoformat(),
            result.outcome.value,
            str(result.reports),
            str(result.servers),
            str(result.nodes),
            "yes" if result.final else "no",
        )
    out.print(table)
    if any(result.outcome is Outcome.REFUSED for result in results):
        fail("a final day that would lose over 20 % stays as it is; --force stores it all the same")


async def _roll(
    configured: Settings, days: list[date], *, force: bool, resume: bool
) -> list[DayResult]:
    from collector import parts

    async with parts.influx_of(configured) as influx:
        daily = parts.daily_of(configured, influx)
        if resume:
            due = set(await parts.reconciler_of(configured, influx).due(datetime.now(UTC)))
            days = [day for day in days if day in due]
        with Progress(console=err, disable=not err.is_terminal) as progress:
            return [
                await daily.roll(day, datetime.now(UTC), force=force)
                for day in progress.track(days, description="rolling up")
            ]


def verify_(
    from_: Annotated[
        date | None,
        typer.Option(
            "--from",
            parser=a_day,
            metavar="DATE",
            help="first day, UTC [default: the oldest whole one]",
        ),
    ] = None,
    to: Annotated[
        date | None,
        typer.Option(
            "--to",
            parser=a_day,
            metavar="DATE",
            help="last day, included [default: the last that is over]",
        ),
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="compute wrong days anew")] = False,
    force: Force = False,
) -> None:
    """Count each day again and compare it with what is stored; exit 1 where a day is wrong."""
    from collector.rollup.standing import FINAL_AFTER

    configured = load_settings()
    now = datetime.now(UTC)
    oldest = now.date() - timedelta(days=max(0, configured.retention_raw // 86_400 - 1))
    # A day that is open is always a little behind its reports.
    over = (now - FINAL_AFTER).date() - timedelta(days=1)
    last = to or max(over, from_ or over)
    days = _days(from_ or min(oldest, last), last)
    with worded_errors():
        found, refused = asyncio.run(_verify(configured, days, repair=repair, force=force))
    table = Table("day", "stored", "recounted", "verdict", "points that differ")
    for item in found:
        table.add_row(
            item.day.isoformat(),
            "-" if item.stored is None else str(item.stored),
            str(item.recounted),
            item.verdict.value,
            ", ".join(f"{name} {count}" for name, count in item.differing.items()),
        )
    out.print(table)
    for day in refused:
        say(f"{day} would lose over 20 % and stays as it is; --force mends it all the same")
    if any(item.verdict.bad for item in found):
        raise typer.Exit(1)


async def _verify(
    configured: Settings, days: list[date], *, repair: bool, force: bool
) -> tuple[list[Verified], list[date]]:
    """The days' verdicts, after the repair if there is one, and the days it refused."""
    from collector import parts
    from collector.rollup.daily import Outcome
    from collector.rollup.verify import verify

    async with parts.influx_of(configured) as influx:
        daily = parts.daily_of(configured, influx)
        refused = []
        found = []
        with Progress(console=err, disable=not err.is_terminal) as progress:
            for day in progress.track(days, description="verifying"):
                item = await verify(daily, day, datetime.now(UTC))
                if repair and item.verdict.bad:
                    result = await daily.roll(day, datetime.now(UTC), force=force)
                    if result.outcome is Outcome.REFUSED:
                        refused.append(day)
                    item = await verify(daily, day, datetime.now(UTC))
                found.append(item)
    return found, refused


def _days(first: date, last: date | None) -> list[date]:
    days = days_between(first, last)
    if days[-1] > datetime.now(UTC).date():
        raise typer.BadParameter("the last day is in the future", param_hint="--to")
    return days
