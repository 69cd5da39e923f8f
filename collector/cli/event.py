"""`collector event …`: operators' notes on days of the published series."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from collector.cli.commands import Commands
from collector.cli.common import TextTable, a_day, fail, load_settings, out, say, with_influx

if TYPE_CHECKING:
    from collector.events.event import Event
    from collector.influx import Influx

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
    configured = load_settings(as_owner=False)
    today = datetime.now(UTC).date()
    if day > today:
        raise typer.BadParameter("the day is in the future", param_hint="--day")
    kept = configured.retention_daily
    if kept and day <= today - timedelta(seconds=kept):
        raise typer.BadParameter("the series of this day has expired", param_hint="--day")
    from collector.events.event import Kind
    from collector.events.notes import checked, note
    from collector.events.stored import read_events, write_events

    async def store(influx: Influx) -> Event:
        said = checked(text, identities=public)
        made = note(day, said, await read_events(influx, Kind.NOTE))
        await write_events(influx, [made])
        return made

    made = with_influx(configured, store)
    say(f"note {made.item} of {made.day}: {made.text}")


@commands.command(name="list", examples=["collector event list", "collector event list --all"])
def list_(
    every: Annotated[
        bool, typer.Option("--all", help="show the events that the rollup finds, too")
    ] = False,
) -> None:
    """List the notes with their numbers, oldest first."""
    from collector.events.event import Kind
    from collector.events.stored import read_events

    kinds = () if every else (Kind.NOTE,)
    found = with_influx(load_settings(as_owner=False), lambda influx: read_events(influx, *kinds))
    table = TextTable("day", "number", "text")
    for event in found:
        table.add(event.day, event.item if event.kind is Kind.NOTE else "", event.text)
    out.print(table)


@commands.command(examples=["collector event remove 3", "collector event remove 3 4"])
def remove(
    numbers: Annotated[list[int], typer.Argument(help="numbers of notes, from `list`")],
) -> None:
    """Remove notes."""
    from collector.events.event import Kind
    from collector.events.stored import delete_events, read_events

    async def delete(influx: Influx) -> set[int]:
        """Delete the notes, all or none; return the numbers that do not exist."""
        notes = {int(event.item): event for event in await read_events(influx, Kind.NOTE)}
        unknown = set(numbers) - notes.keys()
        if not unknown:
            await delete_events(influx, [notes[number] for number in set(numbers)])
        return unknown

    if unknown := with_influx(load_settings(as_owner=False), delete):
        fail(f"there is no note {', '.join(map(str, sorted(unknown)))}; nothing was removed")
    say(f"removed: {len(set(numbers))}")
