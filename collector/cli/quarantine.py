"""`collector quarantine …`: take reports out of the series, and put them back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from collector.cli.common import a_day, fail, load_settings, out, say, worded_errors
from collector.cli.turns import DEFAULT_WAIT_S, Turns, Wait

if TYPE_CHECKING:
    from collector.quarantine.batch import Batch, Preview, Quarantine
    from collector.quarantine.pattern import Pattern
    from collector.rollup.daily import DayResult
    from collector.rollup.store import Span
    from collector.settings import Settings

commands = typer.Typer(
    no_args_is_help=True, help="Take reports out of the series, and put them back."
)

_SHOWN = 20
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment (UTC), and whether a date was given: it then stands for a whole day."""

    at: datetime
    is_day: bool


def a_time(text: str) -> Moment:
    """A date, or `YYYY-MM-DDTHH:MM` in UTC."""
    if "T" not in text:
        return Moment(datetime.combine(a_day(text), time(), UTC), True)
    try:
        at = datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError:
        raise typer.BadParameter("must be a date, or YYYY-MM-DDTHH:MM in UTC") from None
    if at.tzinfo is not None:
        raise typer.BadParameter("must be in UTC, without an offset")
    return Moment(at.replace(tzinfo=UTC), False)


def a_tag(text: str) -> tuple[str, str]:
    """`name=value`."""
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter("must be NAME=VALUE, such as arch=x86_64")
    return name, value


From = Annotated[
    Moment,
    typer.Option("--from", parser=a_time, metavar="TIME", help="a date, or YYYY-MM-DDTHH:MM"),
]
To = Annotated[
    Moment,
    typer.Option("--to", parser=a_time, metavar="TIME", help="a date, included, or a moment"),
]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="NAME=VALUE", help="in a report of the server; may be repeated"),
]
FirstSeen = Annotated[
    bool, typer.Option("--first-seen", help="servers not heard of in the 30 days before")
]
Disputed = Annotated[
    int,
    typer.Option(
        "--disputed", min=0, help="servers with so many nodes on a day that others named too"
    ),
]
Uptime = Annotated[
    bool, typer.Option("--impossible-uptime", help="servers that tell an uptime that cannot be")
]
Servers = Annotated[
    list[str] | None,
    typer.Option("--server", metavar="PSEUDONYM", help="this server; may be repeated"),
]
BelowK = Annotated[
    bool,
    typer.Option(
        "--below-k",
        help="also where old and new numbers, compared, tell of fewer than COLLECTOR_K_ANONYMITY",
    ),
]
Number = Annotated[int, typer.Argument(help="the batch's number; `collector quarantine list`")]


@commands.command()
def preview(
    from_: From,
    to: To,
    tag: Tags = None,
    first_seen: FirstSeen = False,
    disputed: Disputed = 0,
    impossible_uptime: Uptime = False,
    server: Servers = None,
) -> None:
    """Show what `add` would take out of the series; nothing is changed."""
    pattern = _pattern(tag, first_seen, disputed, impossible_uptime, server)
    configured = load_settings()
    span = _span(from_, to)
    found = _run(configured, lambda q: q.preview(pattern, span, datetime.now(UTC)))
    _show(found, configured, "goes")


@commands.command()
def add(  # noqa: PLR0913, PLR0917 - the options of a command are its arguments
    from_: From,
    to: To,
    note: Annotated[str, typer.Option("--note", help="why; kept with the batch")],
    tag: Tags = None,
    first_seen: FirstSeen = False,
    disputed: Disputed = 0,
    impossible_uptime: Uptime = False,
    server: Servers = None,
    below_k: BelowK = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    wait: Wait = DEFAULT_WAIT_S,
) -> None:
    """Take all reports of the servers like that out of the series, and compute the days anew."""
    pattern = _pattern(tag, first_seen, disputed, impossible_uptime, server)
    configured = load_settings()
    span = _span(from_, to)
    found = _run(configured, lambda q: q.preview(pattern, span, datetime.now(UTC)))
    _show(found, configured, "goes")
    _guard(found, configured, below_k=below_k)
    if not (yes or typer.confirm("Take these reports out of the series?")):
        raise typer.Exit(1)
    batch, results = _run(
        configured,
        lambda q: q.add(pattern, span, note, datetime.now(UTC)),
        Turns(configured, wait),
    )
    say(f"batch {batch.number}: {batch.reports} reports are out of the series")
    _outcomes(results)


@commands.command("list")
def list_() -> None:
    """List the batches that raw retention has left."""
    batches = _run(load_settings(), lambda q: q.batches())
    table = Table("batch", "state", "from", "until", "what", "reports", "nodes", "note")
    for batch in batches:
        ends = [datetime.fromtimestamp(ns / 1e9, UTC) for ns in (batch.span.start, batch.span.end)]
        table.add_row(
            str(batch.number),
            batch.state.value,
            *(end.isoformat(timespec="minutes")[:16] for end in ends),
            Text(batch.words),
            str(batch.reports),
            str(batch.node_reports),
            Text(batch.note),
        )
    out.print(table)
    if any(batch.unfinished for batch in batches):
        say("a batch was stopped half-way: `collector quarantine resume` does the rest")


@commands.command()
def release(
    number: Number,
    below_k: BelowK = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    wait: Wait = DEFAULT_WAIT_S,
) -> None:
    """Put a batch back into the series, and compute the days anew."""
    configured = load_settings()

    async def look(quarantine: Quarantine) -> tuple[Batch, Preview]:
        batch = await _batch(quarantine, number)
        return batch, await quarantine.look(batch, datetime.now(UTC))

    batch, found = _run(configured, look)
    _show(found, configured, "comes back")
    _guard(found, configured, below_k=below_k)
    if not (yes or typer.confirm("Put these reports back into the series?")):
        raise typer.Exit(1)
    _, results = _run(
        configured, lambda q: q.release(batch, datetime.now(UTC)), Turns(configured, wait)
    )
    say(f"batch {number} is back in the series")
    _outcomes(results)


@commands.command()
def resume(wait: Wait = DEFAULT_WAIT_S) -> None:
    """Do the rest of what was stopped half-way; without any, do nothing."""
    configured = load_settings()

    async def finish(quarantine: Quarantine) -> list[tuple[Batch, list[DayResult]]]:
        left = [batch for batch in await quarantine.batches() if batch.unfinished]
        return [await quarantine.finish(batch, datetime.now(UTC)) for batch in left]

    done = _run(configured, finish, Turns(configured, wait))
    for batch, results in done:
        say(f"batch {batch.number} is {batch.state.value}")
        _outcomes(results)
    if not done:
        say("nothing was stopped half-way")


async def _batch(quarantine: Quarantine, number: int) -> Batch:
    from collector.quarantine.batch import QuarantineError

    for batch in await quarantine.batches():
        if batch.number == number:
            return batch
    raise QuarantineError(f"there is no batch {number}")


def _run(
    configured: Settings,
    work: Callable[[Quarantine], Awaitable[Found]],
    turns: Turns | None = None,
) -> Found:
    """Do the work, in one turn where it changes something."""
    from collector.quarantine.batch import QuarantineError

    async def worked() -> Found:
        async with _quarantine(configured) as quarantine, turns.one() if turns else nullcontext():
            return await work(quarantine)

    with worded_errors():
        try:
            return asyncio.run(worked())
        except QuarantineError as error:
            fail(str(error))


@asynccontextmanager
async def _quarantine(configured: Settings) -> AsyncIterator[Quarantine]:
    from collector import parts
    from collector.memory import path_in
    from collector.quarantine.batch import Quarantine
    from collector.upgrade import migrated

    # A machine that only commands run on has no budgets, and is given no memory.
    state = configured.state_dir
    take_back = migrated(state).tags.take_back if path_in(state).exists() else None
    async with parts.influx_of(configured) as influx:
        yield Quarantine(
            influx,
            parts.daily_of(configured, influx),
            parts.reconciler_of(configured, influx),
            retention_s=configured.retention_raw,
            take_back=take_back,
        )


def _pattern(
    tags: list[str] | None,
    first_seen: bool,
    disputed: int,
    impossible_uptime: bool,
    servers: list[str] | None,
) -> Pattern:
    from collector.quarantine.pattern import Pattern

    try:
        return Pattern(
            tuple(map(a_tag, tags or ())),
            first_seen,
            disputed,
            impossible_uptime,
            tuple(servers or ()),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _span(from_: Moment, to: Moment) -> Span:
    from collector.quarantine.batch import QuarantineError, span_between

    try:
        return span_between(from_.at, to.at + timedelta(days=1) if to.is_day else to.at)
    except QuarantineError as error:
        raise typer.BadParameter(str(error), param_hint="--to") from None


def _show(found: Preview, configured: Settings, verb: str) -> None:
    table = Table("day", "final", "reports", f"of them {verb}", "nodes named", f"of them {verb}")
    for one in found.days:
        table.add_row(
            one.day.isoformat(),
            "yes" if one.final else "no",
            str(one.before.reports),
            f"{one.reports} of {one.servers} servers",
            str(one.before.node_reports),
            f"{one.node_reports} of {one.nodes} nodes",
        )
    out.print(table)
    servers = Table("server", "reports", "nodes")
    for name, reports, nodes in found.servers[:_SHOWN]:
        servers.add_row(name, str(reports), str(nodes))
    out.print(servers)
    if len(found.servers) > _SHOWN:
        say(f"and {len(found.servers) - _SHOWN} servers more")
    if under := found.under(configured.k_anonymity):
        say(
            f"Who kept the numbers published of {', '.join(map(str, under))} could tell, from the"
            f" difference, of fewer than {configured.k_anonymity} nodes or servers: --below-k"
        )


def _guard(found: Preview, configured: Settings, *, below_k: bool) -> None:
    if not below_k and found.under(configured.k_anonymity):
        fail("nothing was changed; --below-k does it where what is told is nobody's")


def _outcomes(results: list[DayResult]) -> None:
    table = Table("day", "outcome", "reports", "servers", "nodes")
    for one in results:
        numbers = (str(one.reports), str(one.servers), str(one.nodes))
        table.add_row(one.day.isoformat(), one.outcome.value, *numbers)
    out.print(table)
