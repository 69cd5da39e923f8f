"""`collector rollup` and `collector verify`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from collector.cli.common import (
    First,
    Force,
    Last,
    TextTable,
    a_day,
    load_settings,
    out,
    past_days,
    progress_bar,
    say,
    warn,
    with_influx,
    yes_no,
)
from collector.cli.exit_codes import ExitCode
from collector.cli.rollup_lock import DEFAULT_WAIT_S, RollupLock, Wait
from collector.state import StateError

if TYPE_CHECKING:
    from collector.influx import Influx
    from collector.rollup.compute import DayResult
    from collector.rollup.verify import Verified
    from collector.settings import Settings

Done = TypeVar("Done")

_ERASING: Final = "stays as published until an erasure of some of its reports is done"


def rollup(
    from_: First,
    to: Last = None,
    force: Force = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="skip days that are stored and unchanged")
    ] = False,
    wait: Wait = DEFAULT_WAIT_S,
) -> None:
    """Recompute the daily series of these days from their raw reports."""
    from collector.rollup.compute import Outcome

    days = past_days(from_, to)
    configured = load_settings()
    lock = RollupLock(configured, wait)
    work = partial(_roll, configured, days, lock, force=force, resume=resume)
    results, failed = with_influx(configured, work, lock.check)
    table = TextTable("day", "outcome", "reports", "servers", "nodes", "final")
    for one in results:
        table.add(one.day, one.outcome, one.reports, one.servers, one.nodes, yes_no(one.final))
    out.print(table)
    _warn_failed(failed)
    refused = any(result.outcome is Outcome.REFUSED for result in results)
    if refused:
        warn("a final day that would lose over 20 % was left unchanged; --force stores it")
    erasing = [result.day for result in results if result.outcome is Outcome.ERASING]
    for day in erasing:
        warn(f"{day} {_ERASING}")
    if failed or refused or erasing:
        raise typer.Exit(ExitCode.FAILED)


async def _roll(
    configured: Settings,
    days: list[date],
    lock: RollupLock,
    influx: Influx,
    *,
    force: bool,
    resume: bool,
) -> tuple[list[DayResult], dict[date, str]]:
    """Roll up days; return the results, and the errors of the days that failed."""
    from collector import parts
    from collector.logs import place
    from collector.rollup.events import Events

    daily = parts.daily_of(configured, influx)
    if resume:
        due = set(await parts.reconciler_of(configured, influx).due(datetime.now(UTC)))
        days = [day for day in days if day in due]

    async def roll_day(day: date) -> DayResult:
        async with lock.held():
            return await daily.roll(day, datetime.now(UTC), force=force)

    results, failed = await _each(days, roll_day, "rolling up")
    async with lock.held():
        await Events(influx).update(datetime.now(UTC))
    return results, failed | {
        result.day: f"its windows or hours were left unchanged: {place(result.failed)}"
        for result in results
        if result.failed is not None
    }


async def _each(
    days: list[date], work: Callable[[date], Awaitable[Done]], doing: str
) -> tuple[list[Done], dict[date, str]]:
    """Run `work` for each day; return its results, and the errors of the days that failed.

    Raises NoDatabase, and InfluxUnavailable if InfluxDB gives no answer for several days in a row.
    """
    from collector.influx import InfluxError, NoDatabase
    from collector.logs import place
    from collector.rollup.schedule import AWAY_AFTER, is_away

    done, failed, silent = [], {}, 0
    with progress_bar() as progress:
        for day in progress.track(days, description=doing):
            try:
                done.append(await work(day))
                silent = 0
            except (StateError, NoDatabase):
                raise
            except InfluxError as error:
                silent = silent + 1 if is_away(error) else 0
                if silent == min(AWAY_AFTER, len(days)):
                    raise
                failed[day] = str(error)
            # An error in one day must not prevent the others from being computed.
            except Exception as error:  # noqa: BLE001
                failed[day] = place(error)
    return done, failed


def _warn_failed(failed: dict[date, str]) -> None:
    for day, why in failed.items():
        warn(f"{day} could not be computed: {why}")


def verify_(
    from_: Annotated[
        date | None,
        typer.Option(
            "--from",
            parser=a_day,
            metavar="DATE",
            help="first day, UTC [default: the oldest with complete raw data]",
        ),
    ] = None,
    to: Annotated[
        date | None,
        typer.Option(
            "--to",
            parser=a_day,
            metavar="DATE",
            help="last day, included [default: the last final one]",
        ),
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="recompute wrong days")] = False,
    force: Force = False,
    wait: Wait = DEFAULT_WAIT_S,
) -> None:
    """Recompute each day and compare it with the stored one; exit 1 if a day is wrong."""
    from collector.rollup.inputs import FINAL_AFTER
    from collector.rollup.verify import Verdict

    configured = load_settings()
    now = datetime.now(UTC)
    oldest = now.date() - timedelta(days=max(0, configured.retention_raw // 86_400 - 1))
    # The current day always lags a little behind its reports.
    over = (now - FINAL_AFTER).date() - timedelta(days=1)
    last = to or max(over, from_ or over)
    days = past_days(from_ or min(oldest, last), last)
    lock = RollupLock(configured, wait) if repair else None
    work = partial(_verify, configured, days, lock, force=force)
    checked, failed = with_influx(configured, work, lock.check if lock is not None else None)
    found = [item for item, _ in checked]
    table = TextTable("day", "stored", "recounted", "verdict", "points that differ")
    for item in found:
        stored = "-" if item.stored is None else item.stored
        differing = ", ".join(f"{name} {count}" for name, count in item.differing.items())
        table.add(item.day, stored, item.recounted, item.verdict, differing)
    out.print(table)
    for item, refused in checked:
        if item.verdict is Verdict.ERASING:
            say(f"{item.day} {_ERASING}")
        if refused:
            say(f"{item.day} would lose over 20 % and was left unchanged; --force repairs it")
    _warn_failed(failed)
    if failed or any(item.verdict.bad for item in found):
        raise typer.Exit(ExitCode.FAILED)


async def _verify(
    configured: Settings, days: list[date], lock: RollupLock | None, influx: Influx, *, force: bool
) -> tuple[list[tuple[Verified, bool]], dict[date, str]]:
    """Verify days; return each result with whether its repair was refused, and the errors.

    Wrong days are repaired if `lock` is given.
    """
    from collector import parts
    from collector.rollup.compute import Outcome
    from collector.rollup.events import Events
    from collector.rollup.verify import verify

    daily = parts.daily_of(configured, influx)

    async def verify_day(day: date) -> tuple[Verified, bool]:
        item = await verify(daily, day, datetime.now(UTC))
        if lock is None or not item.verdict.bad:
            return item, False
        async with lock.held():
            result = await daily.roll(day, datetime.now(UTC), force=force)
            again = await verify(daily, day, datetime.now(UTC))
        return again, result.outcome is Outcome.REFUSED

    verified = await _each(days, verify_day, "verifying")
    if lock is not None:
        async with lock.held():
            await Events(influx).update(datetime.now(UTC))
    return verified
