"""`collector outbox …`: inspect the outbox; replay, recover or delete what is in it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from collector.cli.commands import Commands
from collector.cli.common import a_moment, fail, load_settings, out, say, warn, worded_errors
from collector.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from collector.outbox import OutboxFile, Recovered

T = TypeVar("T")

_LONGEST: Final = 2000

commands = Commands(
    no_args_is_help=True, help="Inspect the outbox; replay, recover or drop reports."
)


@commands.command(examples=["collector outbox dead"])
def dead() -> None:
    """List the lines that their target refused for good, with its words."""
    from collector.outbox import OutboxFile

    letters = [letter for found in _each(OutboxFile.dead_letters) for letter in found]
    table = Table("id", "received", "for", "refused because", "line")
    for letter in letters:
        table.add_row(
            str(letter.id),
            _time(letter.received_ns),
            letter.target,
            Text(letter.reason),
            Text(_shortened(letter.line.decode(errors="replace"))),
        )
    out.print(table)


@commands.command(examples=["collector outbox retry"])
def retry() -> None:
    """Send the dead letters again, as when the reason of their refusal is gone."""
    from collector.outbox import OutboxFile

    count = sum(_each(OutboxFile.retry_dead_letters))
    say(f"{count} lines wait to be sent again")


@commands.command(
    examples=[
        "collector outbox replay --since 6h",
        "collector outbox replay --since 2026-11-25T13:30 --target influx",
    ]
)
def replay(
    since: Annotated[
        datetime,
        typer.Option(
            parser=a_moment,
            metavar="TIME",
            help="received from then on: 2024-06-01, 2024-06-01T13:30 (UTC), or 6h ago as 6h",
        ),
    ],
    target: Annotated[
        Literal["all", "influx", "records"],
        typer.Option(help="what gets them again: InfluxDB, the records store, or both"),
    ] = "all",
) -> None:
    """Deliver again what was delivered since a time, as after a restore from a backup.

    What a target has is written over itself. A running collector takes it up by itself, and
    computes the days concerned again. Owners' choices made since then are told again too.
    """
    from collector.outbox import OutboxFile, Queue
    from collector.upgrade import migrated

    queues = tuple(Queue) if target == "all" else (Queue(target),)

    since_ns = int(since.timestamp() * 10**9)
    oldest = min((ns for ns in _each(OutboxFile.oldest_ns) if ns is not None), default=None)
    with worded_errors():
        memory = migrated(load_settings().state_dir)
    count = sum(_each(lambda file: file.replay(since_ns=since_ns, queues=queues)))
    with worded_errors():
        memory.choices.mark_unsynced(since_ns=since_ns)
    say(f"{count} reports wait to be delivered, again or for the first time")
    if oldest is None or oldest > since_ns:
        kept = "none" if oldest is None else _time(oldest)
        warn(f"the oldest report kept here is of {kept}: earlier ones cannot be replayed")


@commands.command(
    examples=[
        "collector outbox recover --all",
        "collector outbox recover outbox.sqlite3.damaged-20261125T101500.250000Z",
    ]
)
def recover(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="set aside, by its name")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="every outbox set aside in the state directory")
    ] = False,
) -> None:
    """Get out of a damaged outbox what is whole, behind all that waits in the one in use.

    A running collector takes it up by itself. What is done is renamed, and deleted by the collector
    when it is as old as COLLECTOR_OUTBOX_KEEP.
    """
    from collector.outbox import FILE, OutboxFile, put_away, set_aside
    from collector.outbox import recover as recover_into
    from collector.privacy import Pseudonymiser
    from collector.state import pseudonym_key
    from collector.upgrade import migrated
    from collector.worker import directories

    settings = load_settings()
    if bool(files) == every:
        fail("give the names of outboxes set aside, or --all")
    asides = files or [aside for own in directories(settings.state_dir) for aside in set_aside(own)]
    if not asides:
        say("no outbox is set aside")
        return
    with worded_errors():
        pseudonyms = Pseudonymiser(pseudonym_key(settings.key_file, settings.state_dir))
        erased = migrated(settings.state_dir).erasures.erased()
        for aside in asides:
            # The outbox beside the file is that of the same worker.
            beside = aside.parent / FILE
            place = beside if beside.exists() else settings.state_dir / FILE
            place.stat()
            with OutboxFile(place) as file:
                found = recover_into(
                    aside, file, pseudonyms.mark, erased, max_bytes=settings.outbox_max
                )
            _print_recovered(aside.name, found)
            say(f"  it is {put_away(aside).name} now")


@commands.command(
    examples=[
        "collector outbox drop --dead",
        "collector outbox drop --yes outbox.sqlite3.damaged-20261125T101500.250000Z",
    ]
)
def drop(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="set aside, by its name")
    ] = None,
    dead: Annotated[bool, typer.Option("--dead", help="all dead letters")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Delete dead letters, or outboxes that were set aside: what is in them is lost.

    They go by themselves when they are as old as COLLECTOR_RETENTION_RAW.
    """
    from collector.outbox import OutboxFile
    from collector.outbox.aside import check_droppable, delete_aside

    if not files and not dead:
        fail("give the names of outboxes set aside, or --dead")
    with worded_errors():
        for file in files or ():
            check_droppable(file)
    count = sum(len(letters) for letters in _each(OutboxFile.dead_letters)) if dead else 0
    what = [f"{count} dead letters"] if dead else []
    what += [str(file) for file in files or ()]
    if not yes and not typer.confirm(f"Delete {', '.join(what)}? What is in there is lost."):
        say("nothing is deleted")
        raise typer.Exit(ExitCode.FAILED)
    if dead:
        say(f"{sum(_each(OutboxFile.drop_dead_letters))} dead letters deleted")
    with worded_errors():
        for file in files or ():
            delete_aside(file)
            say(f"{file.name} is deleted")


def _print_recovered(name: str, found: Recovered) -> None:
    say(
        f"{name}: {found.reports} reports and {found.dead_letters} dead letters recovered;"
        f" {found.broken + found.missing} reports lost"
    )
    if found.broken or found.missing:
        warn(
            f"  {found.broken} of them are damaged, {found.missing} are not found"
            " (or were erased by their owners)"
        )
    if not found.counted:
        warn("  the number of reports is damaged too: more may be lost than is counted here")
    if found.erased:
        say(f"  {found.erased} were left out: their owners have erased them since")


def _shortened(line: str) -> str:
    """Cut a line that is too long for a terminal, such as a record with its payload."""
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}… ({len(line)} characters)"


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="seconds")


def _each(work: Callable[[OutboxFile], T]) -> list[T]:
    """Call `work` with the outbox of each worker; return the results."""
    from collector.outbox import FILE, OutboxFile
    from collector.worker import directories

    state_dir = load_settings().state_dir
    paths = [path for own in directories(state_dir) if (path := own / FILE).exists()]
    if not paths:
        fail(f"there is no outbox at {state_dir / FILE}: is COLLECTOR_STATE_DIR right?")
    found = []
    with worded_errors():
        for path in paths:
            with OutboxFile(path) as file:
                found.append(work(file))
    return found
