"""`collector librenms …`: pairs of sysDescr and sysObjectID, and the daily numbers of installs."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collector.cli.commands import Commands
from collector.cli.common import (
    First,
    Force,
    Last,
    TextTable,
    a_day,
    days_between,
    fail,
    load_settings,
    out,
    past_days,
    say,
    warn,
    with_influx,
    worded_errors,
    yes_no,
)
from collector.cli.exit_codes import ExitCode
from collector.cli.rollup_lock import DEFAULT_WAIT_S, RollupLock, Wait

if TYPE_CHECKING:
    from collector.influx import Influx
    from collector.rollup.schedule import RolledDay

commands = Commands(no_args_is_help=True, help="What installs of LibreNMS have reported.")

_DAYS: Final = 30
_UNCHANGED: Final = {
    "refused": "a final day that would lose over 20 % was left unchanged; --force stores it",
    "erasing": "a day stays as published until an erasure of some of its reports is done",
}


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise typer.BadParameter(f"is no regular expression ({error})") from None


@commands.command(
    examples=[
        "collector librenms sysdescr --os ios --contains C2960",
        "collector librenms sysdescr --oid .1.3.6.1.4.1.9 --export cisco.csv",
    ]
)
def sysdescr(
    os: Annotated[str, typer.Option("--os", help="of this operating system alone")] = "",
    oid: Annotated[str, typer.Option("--oid", help="sysObjectID is this or under it")] = "",
    contains: Annotated[
        str, typer.Option("--contains", help="sysDescr contains this, in any letter case")
    ] = "",
    match: Annotated[
        re.Pattern[str] | None,
        typer.Option(
            "--match", parser=_pattern, metavar="REGEX", help="sysDescr has a match of this"
        ),
    ] = None,
    from_: Annotated[
        date | None,
        typer.Option(
            "--from", parser=a_day, metavar="DATE", help="first day, UTC [default: 30 days ago]"
        ),
    ] = None,
    to: Last = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="rows of the table")] = 50,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="write all rows to this file, `.csv` or `.json`"),
    ] = None,
) -> None:
    """Search the pairs of sysDescr and sysObjectID, by each install's last report of these days."""
    from collector.sysdescr import Wanted, as_csv, as_json, search

    writers = {".csv": as_csv, ".json": as_json}
    if export is not None and export.suffix not in writers:
        raise typer.BadParameter("the file's name must end with .csv or .json", param_hint="export")
    last = to or datetime.now(UTC).date()
    first = from_ or last - timedelta(days=_DAYS)
    days_between(first, last)
    configured = load_settings(as_owner=False)
    wanted = Wanted(os, oid, contains, match)
    found = with_influx(configured, lambda influx: search(influx, first, last, wanted))
    if export is not None:
        with worded_errors():
            export.write_text(writers[export.suffix](found), encoding="utf-8", newline="")
        say(f"{len(found)} pairs written to {export}")
        return
    table = TextTable("os", "sysObjectID", "devices", "installs", "sysDescr")
    for one in found[:limit]:
        table.add(one.os, one.sysObjectID, one.devices, one.installs, repr(one.sysDescr)[1:-1])
    out.print(table)
    say(f"{len(found)} pairs" + (f", {limit} of them shown" if len(found) > limit else ""))


@commands.command(
    examples=[
        "collector librenms rollup --from yesterday",
        "collector librenms rollup --from 2026-11-01 --to yesterday --wait 30m",
    ]
)
def rollup(
    from_: First,
    to: Last = None,
    force: Force = False,
    wait: Wait = DEFAULT_WAIT_S,
) -> None:
    """Recompute the daily numbers of installs of these days."""
    days = past_days(from_, to)
    from collector.parts import librenms_days_of

    configured = load_settings()
    lock = RollupLock(configured, wait)

    async def roll(influx: Influx) -> dict[date, RolledDay]:
        series = librenms_days_of(configured, influx)
        rolled = {}
        for day in days:
            async with lock.held():
                rolled[day] = await series.roll(day, datetime.now(UTC), force=force)
        return rolled

    rolled = with_influx(configured, roll, lock.check)
    table = TextTable("day", "outcome", "reports", "final")
    for day, result in rolled.items():
        table.add(day, result.outcome, result.reports, yes_no(result.final))
    out.print(table)
    unchanged = {result.outcome for result in rolled.values()} & _UNCHANGED.keys()
    for outcome in sorted(unchanged):
        warn(_UNCHANGED[outcome])
    if unchanged:
        raise typer.Exit(ExitCode.FAILED)


@commands.command(examples=["collector librenms verify --from 2026-11-01 --to yesterday"])
def verify(from_: First, to: Last = None) -> None:
    """Recompute the days and compare them with the stored ones; exit 1 if one is wrong."""
    days = past_days(from_, to)
    from collector.parts import librenms_days_of

    configured = load_settings()

    async def compare(influx: Influx) -> dict[date, dict[str, int] | None]:
        series = librenms_days_of(configured, influx)
        return {day: await series.differences(day, datetime.now(UTC)) for day in days}

    differing = with_influx(configured, compare)
    table = TextTable("day", "verdict", "points that differ")
    for day, found in differing.items():
        verdict = "fixed" if found is None else "differs" if found else "good"
        table.add(day, verdict, ", ".join(f"{n} {count}" for n, count in (found or {}).items()))
    out.print(table)
    if any(differing.values()):
        fail("some days are wrong; `collector librenms rollup` computes them again")
