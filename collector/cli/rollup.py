"""`collector rollup`."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from collector import app
from collector.cli.common import a_day, days_between, err, load_settings, out, worded_errors
from collector.rollup.daily import DayResult
from collector.settings import Settings


def rollup(
    from_: Annotated[date, typer.Option("--from", parser=a_day, metavar="DATE", help="first day")],
    to: Annotated[
        date | None, typer.Option("--to", parser=a_day, metavar="DATE", help="last day, included")
    ] = None,
) -> None:
    """Compute the daily series of these days anew from their raw reports."""
    days = days_between(from_, to)
    configured = load_settings()
    with worded_errors():
        results = asyncio.run(_roll(configured, days))
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


async def _roll(configured: Settings, days: list[date]) -> list[DayResult]:
    async with app.influx_of(configured) as influx:
        daily = app.daily_of(configured, influx)
        with Progress(console=err, disable=not err.is_terminal) as progress:
            return [
                await daily.roll(day, datetime.now(UTC))
                for day in progress.track(days, description="rolling up")
            ]
