"""`collector outbox …`: inspect the outbox; replay, recover or delete what is in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar

import typer

from collector.cli.commands import Commands
from collector.cli.common import (
    TextTable,
    a_moment,
    fail,
    load_settings,
    out,
    say,
    warn,
    worded_errors,
)
from collector.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from collector.outbox import OutboxFile, Queue, Recovered
    from collector.settings import Settings

T = TypeVar("T")

_LONGEST: Final = 2000

Files = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[FILE]...", help="a path of an outbox set aside"),
]

commands = Commands(
    no_args_is_help=True, help="Inspect the outbox; replay, recover or drop reports."
)


@commands.command(examples=["collector outbox dead"])
def dead() -> None:
    """List the dead letters: lines that their target refused for good, with its error."""
    from collector.outbox import OutboxFile

    letters = [letter for found in _each(OutboxFile.dead_letters) for letter in found]
    table = TextTable("id", "received", "target", "error", "line")
    for one in letters:
        line = _shortened(one.line.decode(errors="replace"))
        table.add(one.id, _time(one.received_ns), one.target, one.reason, line)
    out.print(table)


@commands.command(examples=["collector outbox retry"])
def retry() -> None:
    """Queue all dead letters again, once the reason of their refusal is gone."""
    from collector.outbox import OutboxFile

    count = sum(_each(OutboxFile.retry_dead_letters))
    say(f"{count} dead letters are queued again")


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
            help="oldest receive time: 2024-06-01, 2024-06-01T13:30 (UTC), or 6h for 6 hours ago",
        ),
    ],
    target: Annotated[
        Literal["all", "influx", "records"],
        typer.Option(help="where to: InfluxDB, the records store, or both"),
    ] = "all",
) -> None:
    """Deliver again all reports received since a time, such as after a restore from a backup.

    Reports that the target has already are overwritten, not doubled. A running collector delivers
    them without a restart and recomputes their days. It also stores the owners' choices since then
    again.
    """
    from collector.outbox import OutboxFile, Queue

    queues = tuple(Queue) if target == "all" else (Queue(target),)
    since_ns = int(since.timestamp() * 10**9)
    oldest = min((ns for ns in _each(OutboxFile.oldest_ns) if ns is not None), default=None)
    with worded_errors():
        count = deliver_again(load_settings(), since_ns, queues)
    say(f"{count} reports wait for delivery")
    if oldest is None or oldest > since_ns:
        if oldest is None:
            warn("the outbox is empty: nothing can be replayed")
        else:
            warn(f"the oldest report in the outbox is of {_time(oldest)}: earlier ones are gone")


@commands.command(
    examples=[
        "collector outbox recover --all",
        "collector outbox recover outbox.sqlite3.damaged-20261125T101500.250000Z",
    ]
)
def recover(
    files: Files = None,
    every: Annotated[bool, typer.Option("--all", help="all outboxes that were set aside")] = False,
) -> None:
    """Recover intact reports from a damaged outbox into the one in use.

    A running collector delivers them without a restart. A recovered file is renamed; the collector
    deletes it at the age of COLLECTOR_OUTBOX_KEEP.
    """
    from collector.outbox import FILE, OutboxFile, mark_recovered, set_aside
    from collector.outbox import recover as recover_into
    from collector.privacy import Pseudonymiser
    from collector.state import pseudonym_key
    from collector.upgrade import migrated
    from collector.worker import directories

    settings = load_settings()
    if bool(files) == every:
        fail("name the outboxes that were set aside, or use --all")
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
            say(f"  the file is renamed to {mark_recovered(aside).name}")


@commands.command(
    examples=[
        "collector outbox drop --dead",
        "collector outbox drop --yes outbox.sqlite3.damaged-20261125T101500.250000Z",
    ]
)
def drop(
    files: Files = None,
    dead: Annotated[bool, typer.Option("--dead", help="delete all dead letters")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Delete dead letters, or outboxes that were set aside, with all reports in them.

    The collector deletes them by itself at the age of COLLECTOR_RETENTION_RAW.
    """
    from collector.outbox import OutboxFile
    from collector.outbox.aside import check_droppable, delete_aside

    if not files and not dead:
        fail("name the outboxes that were set aside, or use --dead")
    with worded_errors():
        for file in files or ():
            check_droppable(file)
    count = sum(len(letters) for letters in _each(OutboxFile.dead_letters)) if dead else 0
    what = [f"{count} dead letters"] if dead else []
    what += [str(file) for file in files or ()]
    if not yes and not typer.confirm(f"Delete {', '.join(what)}? Their reports are lost."):
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
            f"  {found.broken} of them are damaged, {found.missing} were not found"
            " (or were erased by their owners)"
        )
    if not found.counted:
        warn("  the file's counters are damaged too: more reports may be lost")
    if found.erased:
        say(f"  {found.erased} were left out: their owners erased them")


def _shortened(line: str) -> str:
    """Cut a line that is too long for a terminal, such as a record with its payload."""
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}… ({len(line)} characters)"


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="seconds")


def deliver_again(configured: Settings, since_ns: int, queues: Sequence[Queue]) -> int:
    """Deliver again what was received since a time (ns), owners' choices included; how much.

    Raises StateError, StoreUnavailable.
    """
    from collector.upgrade import migrated

    memory = migrated(configured.state_dir)
    count = sum(_each(lambda file: file.replay(since_ns=since_ns, queues=queues)))
    memory.choices.mark_unsynced(since_ns=since_ns)
    return count


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
