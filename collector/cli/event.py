"""`collector event …`: operators' notes on days of the published series."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from collector.cli.commands import Commands
from collector.cli.common import TextTable, a_day, fail, load_settings, out, say, worded_errors

if TYPE_CHECKING:
    from collector.events.event import Event
    from collector.settings import Settings

commands = Commands(
    no_args_is_help=True, help="Notes on days, published beside the daily series as they are."
)


@commands.command(
    examples=[
        "collector event add --day yesterday 'Receiver moved to a new machine'",
        "collector event add --day 2026-11-03 'asl3 3.6 announced'",
    ]
)
def add(
    text: Annotated[str, typer.Argument(help="the note: one line of at most 200 characters")],
    day: Annotated[date, typer.Option("--day", parser=a_day, metavar="DATE", help="the day, UTC")],
    public: Annotated[
        bool,
        typer.Option("--public", help="publish what looks like a call sign or an address, too"),
    ] = False,
) -> None:
    """Add a note to a day. Dashboards, the home page and /v1/events show it within five minutes.

    The text is public, in one language, for as long as the daily series. A text that seems to name
    a station, a server or a person is refused, since an owner's erasure does not find it.
    """
    from collector.events.notes import NoteError, checked

    configured = load_settings(as_owner=False)
    today = datetime.now(UTC).date()
    if day > today:
        raise typer.BadParameter("the day is in the future", param_hint="--day")
    kept = configured.retention_daily
    if kept and day <= today - timedelta(seconds=kept):
        raise typer.BadParameter("the series of this day has expired", param_hint="--day")
    with worded_errors():
        try:
            made = asyncio.run(_add(configured, day, checked(text, identities=public)))
        except NoteError as error:
            fail(str(error))
    say(f"note {made.item} of {made.day}: {made.text}")


@commands.command(name="list", examples=["collector event list", "collector event list --all"])
def list_(
    every: Annotated[
        bool, typer.Option("--all", help="show the events that the rollup finds, too")
    ] = False,
) -> None:
    """List the notes with their numbers, oldest first."""
    from collector.events.event import Kind

    configured = load_settings(as_owner=False)
    with worded_errors():
        found = asyncio.run(_read(configured, *(() if every else (Kind.NOTE,))))
    table = TextTable("day", "number", "text")
    for event in found:
        table.add(event.day, event.item if event.kind is Kind.NOTE else "", event.text)
    out.print(table)


@commands.command(examples=["collector event remove 3", "collector event remove 3 4"])
def remove(
    numbers: Annotated[list[int], typer.Argument(help="numbers of notes, from `list`")],
) -> None:
    """Remove notes."""
    configured = load_settings(as_owner=False)
    with worded_errors():
        unknown = asyncio.run(_remove(configured, set(numbers)))
    if unknown:
        fail(f"there is no note {', '.join(map(str, sorted(unknown)))}; nothing was removed")
    say(f"removed: {len(set(numbers))}")


async def _read(configured: Settings, *kinds: str) -> list[Event]:
    from collector import parts
    from collector.events.event import Kind
    from collector.events.stored import read_events

    async with parts.influx_of(configured) as influx:
        return await read_events(influx, *map(Kind, kinds))


async def _add(configured: Settings, day: date, text: str) -> Event:
    from collector import parts
    from collector.events.event import Kind
    from collector.events.notes import note
    from collector.events.stored import read_events, write_events

    async with parts.influx_of(configured) as influx:
        made = note(day, text, await read_events(influx, Kind.NOTE))
        await write_events(influx, [made])
        return made


async def _remove(configured: Settings, numbers: set[int]) -> set[int]:
    """Remove notes, all or none; return the numbers that do not exist."""
    from collector import parts
    from collector.events.event import Kind
    from collector.events.stored import delete_events, read_events

    async with parts.influx_of(configured) as influx:
        notes = {int(event.item): event for event in await read_events(influx, Kind.NOTE)}
        if unknown := numbers - notes.keys():
            return unknown
        await delete_events(influx, [notes[number] for number in numbers])
        return set()
