"""`python -m tools.simulation`: the command."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from collector import parts
from collector.cli.common import a_day, days_between, err, fail, load_settings, say, worded_errors
from collector.influx.databases import ensure
from collector.schema.budgets import ASL_BUDGETS
from collector.setting_types import format_duration
from collector.settings import Settings
from collector.state import prepare, pseudonym_key
from tools.simulation.fleet import Fleet
from tools.simulation.sending import (
    NotEmptyError,
    PostError,
    Tally,
    converter_of_past,
    days_kept,
    lay_down,
    post,
    refuse_if_not_empty,
)

_RATE = 10.0

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@cli.command()
def simulate(  # noqa: PLR0913 - the options of a command are its arguments
    *,
    history: Annotated[
        bool, typer.Option("--history", help="lay the past days down straight into InfluxDB")
    ] = False,
    url: Annotated[
        str | None, typer.Option("--post", metavar="URL", help="post the last day's reports now")
    ] = None,
    servers: Annotated[int, typer.Option(min=1, help="servers on the last day")] = 1000,
    days: Annotated[int, typer.Option(min=1, help="days of the fleet")] = 90,
    seed: Annotated[int, typer.Option(help="another seed is another fleet")] = 1,
    to: Annotated[
        date | None,
        typer.Option("--to", parser=a_day, metavar="DATE", help="last day", show_default="today"),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0, help="posts a second, 0: no limit", show_default=f"{_RATE:g}"),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="posts at most", show_default="all of the day")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="mix made-up history with what is stored")
    ] = False,
) -> None:
    """Make up a fleet of servers, and lay its past down or post its last day.

    The same --servers, --days, --seed and --to give the same fleet.
    --history stores what it sent on its days before today, through the same
    intake code as a live report; --post sends what it sends on its last day.

    Do neither where numbers matter: made-up reports cannot be told from others.
    """
    if history == (url is not None):
        raise typer.BadParameter("give one of --history and --post URL")
    if history and (rate is not None or count is not None):
        raise typer.BadParameter("--rate and --count go with --post")
    if url is not None and not url.startswith(("http://", "https://")):
        raise typer.BadParameter("must be an http:// or https:// URL", param_hint="--post")
    if force and not history:
        raise typer.BadParameter("--force goes with --history")
    today = datetime.now(UTC).date()
    last = to or today
    if last > today:
        raise typer.BadParameter("must not be in the future", param_hint="--to")
    fleet_days = days_between(last - timedelta(days=days - 1), last)

    def fleet() -> Fleet:
        return Fleet(seed=seed, servers=servers, start=fleet_days[0], days=days)

    configured = load_settings()
    try:
        with worded_errors():
            if url is None:
                kept = _kept(fleet_days, today, configured)
                tally = asyncio.run(_lay_down(fleet(), kept, configured, force=force))
                say(
                    f"{kept[0]} to {kept[-1]}: {tally.accepted:,} reports laid down"
                    f" as {tally.points:,} points; refused: {tally.refusals}"
                )
                say(f"to count them: collector rollup --from {kept[0]} --to {kept[-1]}")
            else:
                tally = asyncio.run(
                    _post(fleet(), last, url, _RATE if rate is None else rate, count)
                )
                say(f"{tally.accepted:,} reports accepted; refused: {tally.refusals}")
    except (NotEmptyError, PostError) as error:
        fail(str(error))


def _kept(days: list[date], today: date, configured: Settings) -> list[date]:
    past = [day for day in days if day < today]
    kept = days_kept(past, today=today, retention_s=configured.retention_raw)
    kept_for = f"raw reports are kept {format_duration(configured.retention_raw)}"
    if not kept:
        fail(
            f"{kept_for}: none of these days before today is inside that"
            if past
            else "there is no day before today to lay down: give more --days, or --post"
        )
    if len(kept) < len(past):
        say(f"{kept_for}: of {len(past)} past days, those from {kept[0]} on are laid down")
    return kept


async def _lay_down(fleet: Fleet, days: list[date], configured: Settings, *, force: bool) -> Tally:
    prepare(configured.state_dir)
    converter = converter_of_past(
        # The key of `serve`: a node has the same pseudonym in stored days and in posts.
        pseudonym_key(configured.key_file, configured.state_dir),
        instance=configured.instance,
        budgets=ASL_BUDGETS,
        memory_days=len(days),
    )
    async with parts.influx_of(configured) as influx:
        await ensure(influx, parts.retention(configured))
        if not force:
            await refuse_if_not_empty(influx)
        with _progress() as progress:
            task = progress.add_task("laying down days", total=len(days))
            return await lay_down(
                map(fleet.day, days), converter, influx, done=lambda: progress.advance(task)
            )


async def _post(fleet: Fleet, day: date, url: str, rate: float, count: int | None) -> Tally:
    submissions = fleet.day(day)[:count]
    with _progress() as progress:
        task = progress.add_task("posting reports", total=len(submissions))
        return await post(submissions, url, rate=rate, done=lambda: progress.advance(task))


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=not err.is_terminal,
    )


if __name__ == "__main__":
    cli(prog_name="python -m tools.simulation")
