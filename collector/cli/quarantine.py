"""`collector quarantine …`: exclude reports from the series, and include them again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from collector.cli.commands import Commands
from collector.cli.common import (
    TextTable,
    a_day,
    fail,
    load_settings,
    out,
    say,
    worded_errors,
    yes_no,
)
from collector.cli.exit_codes import ExitCode
from collector.cli.rollup_lock import DEFAULT_WAIT_S, RollupLock, Wait

if TYPE_CHECKING:
    from collector.influx.contents import Span
    from collector.quarantine.batch import Batch, Preview
    from collector.quarantine.pattern import Pattern
    from collector.quarantine.quarantine import Quarantine
    from collector.rollup.compute import DayResult
    from collector.settings import Settings

commands = Commands(
    no_args_is_help=True, help="Exclude reports from the series, and include them again."
)

_SHOWN = 20
Found = TypeVar("Found")


def a_time(text: str) -> date:
    """Parse a date, or `YYYY-MM-DDTHH:MM` in UTC, which gives a datetime."""
    if "T" not in text:
        return a_day(text)
    try:
        at = datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError:
        raise typer.BadParameter("must be a date, or YYYY-MM-DDTHH:MM in UTC") from None
    if at.tzinfo is not None:
        raise typer.BadParameter("must be in UTC, without an offset")
    return at.replace(tzinfo=UTC)


def a_tag(text: str) -> tuple[str, str]:
    """Parse `name=value`."""
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter("must be NAME=VALUE, such as arch=x86_64")
    return name, value


From = Annotated[
    date,
    typer.Option("--from", parser=a_time, metavar="TIME", help="a date, or YYYY-MM-DDTHH:MM"),
]
To = Annotated[
    date,
    typer.Option("--to", parser=a_time, metavar="TIME", help="a date, included, or a moment"),
]
Tags = Annotated[
    list[str] | None,
    typer.Option(
        "--tag", metavar="NAME=VALUE", help="servers with this tag in a report; may be repeated"
    ),
]
FirstSeen = Annotated[
    bool, typer.Option("--first-seen", help="servers without reports in the 30 days before")
]
Disputed = Annotated[
    int,
    typer.Option(
        "--disputed",
        min=0,
        help="servers with at least so many nodes on a day that others reported too",
    ),
]
Uptime = Annotated[
    bool, typer.Option("--impossible-uptime", help="servers that report an impossible uptime")
]
Servers = Annotated[
    list[str] | None,
    typer.Option("--server", metavar="PSEUDONYM", help="this server; may be repeated"),
]
BelowK = Annotated[
    bool,
    typer.Option(
        "--below-k",
        help="even if old and new numbers differ by fewer nodes than COLLECTOR_K_ANONYMITY",
    ),
]
Number = Annotated[
    int, typer.Argument(help="number of the batch, from `collector quarantine list`")
]


@commands.command(
    examples=[
        "collector quarantine preview --from yesterday --to today --first-seen",
        "collector quarantine preview --from 2026-11-01 --to today --disputed 20",
    ]
)
def preview(
    from_: From,
    to: To,
    tag: Tags = None,
    first_seen: FirstSeen = False,
    disputed: Disputed = 0,
    impossible_uptime: Uptime = False,
    server: Servers = None,
) -> None:
    """Show the reports that `add` would exclude; changes nothing."""
    pattern = _pattern(tag, first_seen, disputed, impossible_uptime, server)
    configured = load_settings()
    span = _span(from_, to)
    found = _run(configured, lambda q: q.preview(pattern, span, datetime.now(UTC)))
    _show(found, configured, "goes")


@commands.command(
    examples=["collector quarantine add --from today --to today --tag arch=x --note flood"]
)
def add(  # noqa: PLR0913, PLR0917 - the options of a command are its arguments
    from_: From,
    to: To,
    note: Annotated[str, typer.Option("--note", help="the reason, stored with the batch")],
    tag: Tags = None,
    first_seen: FirstSeen = False,
    disputed: Disputed = 0,
    impossible_uptime: Uptime = False,
    server: Servers = None,
    below_k: BelowK = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    wait: Wait = DEFAULT_WAIT_S,
) -> None:
    """Exclude all reports of the matching servers from the series, and recompute the days."""
    pattern = _pattern(tag, first_seen, disputed, impossible_uptime, server)
    configured = load_settings()
    span = _span(from_, to)
    found = _run(configured, lambda q: q.preview(pattern, span, datetime.now(UTC)))
    _show(found, configured, "goes")
    question = "Exclude these reports from the series?"
    _confirm(question, found, configured, below_k=below_k, yes=yes)
    batch, results = _run(
        configured,
        lambda q: q.add(pattern, span, note, datetime.now(UTC)),
        RollupLock(configured, wait),
    )
    say(f"batch {batch.number}: {batch.reports} reports are excluded from the series")
    _outcomes(results)


@commands.command("list", examples=["collector quarantine list"])
def list_() -> None:
    """List the batches within raw retention."""
    batches = _run(load_settings(), lambda q: q.batches())
    table = TextTable.narrow("batch", "state", "from", "until", "what", "reports", "nodes", "note")
    for one in batches:
        ends = [datetime.fromtimestamp(ns / 1e9, UTC) for ns in (one.span.start, one.span.end)]
        times = [f"{end:%Y-%m-%dT%H:%M}" for end in ends]
        counts = (one.reports, one.node_reports)
        table.add(one.number, one.state, *times, one.words, *counts, one.note)
    out.print(table)
    if any(batch.unfinished for batch in batches):
        say("a batch was interrupted: `collector quarantine resume` completes it")


@commands.command(
    examples=["collector quarantine release 3", "collector quarantine release 3 --yes --wait 30m"]
)
def release(
    number: Number,
    below_k: BelowK = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    wait: Wait = DEFAULT_WAIT_S,
) -> None:
    """Include the reports of a batch in the series again, and recompute the days."""
    from collector.quarantine.batch import QuarantineError

    configured = load_settings()

    async def contents(quarantine: Quarantine) -> tuple[Batch, Preview]:
        for batch in await quarantine.batches():
            if batch.number == number:
                return batch, await quarantine.contents(batch, datetime.now(UTC))
        raise QuarantineError(f"there is no batch {number}")

    batch, found = _run(configured, contents)
    _show(found, configured, "comes back")
    question = "Include these reports in the series again?"
    _confirm(question, found, configured, below_k=below_k, yes=yes)
    _, results = _run(
        configured, lambda q: q.release(batch, datetime.now(UTC)), RollupLock(configured, wait)
    )
    say(f"batch {number} is back in the series")
    _outcomes(results)


@commands.command(examples=["collector quarantine resume"])
def resume(wait: Wait = DEFAULT_WAIT_S) -> None:
    """Complete interrupted batches; do nothing if there are none."""
    from collector.quarantine.batch import QuarantineError

    configured = load_settings()

    refused: list[str] = []

    async def finish(quarantine: Quarantine) -> list[tuple[Batch, list[DayResult]]]:
        done = []
        for batch in await quarantine.batches():
            if batch.unfinished:
                try:
                    done.append(await quarantine.finish(batch, datetime.now(UTC)))
                except QuarantineError as error:
                    refused.append(f"batch {batch.number}: {error}")
        return done

    done = _run(configured, finish, RollupLock(configured, wait))
    for batch, results in done:
        say(f"batch {batch.number} is {batch.state.value}")
        _outcomes(results)
    if refused:
        fail("; ".join(refused))
    if not done:
        say("no batch was interrupted")


def _run(
    configured: Settings,
    work: Callable[[Quarantine], Awaitable[Found]],
    lock: RollupLock | None = None,
) -> Found:
    """Run `work`; hold `lock` meanwhile, for work that changes something."""
    from collector import parts
    from collector.influx import allowed
    from collector.memory import path_in
    from collector.quarantine.quarantine import Quarantine
    from collector.upgrade import migrated

    async def worked() -> Found:
        # A machine that only commands run on has no budgets, and is given no memory.
        state = configured.state_dir
        discount = migrated(state).tags.discount if path_in(state).exists() else None
        async with (
            parts.influx_of(configured, guard=lock.check if lock else allowed) as influx,
            parts.hops_of(configured) as hops,
            lock.held() if lock else nullcontext(),
        ):
            quarantine = Quarantine(
                influx,
                parts.daily_of(configured, influx),
                parts.reconciler_of(configured, influx),
                retention_s=configured.retention_raw,
                discount=discount,
                on_way=hops.quarantine if configured.nats_url else None,
            )
            return await work(quarantine)

    with worded_errors():
        return asyncio.run(worked())


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


def _span(from_: date, to: date) -> Span:
    """The span from a day or a moment on; a day at its end is included."""
    from collector.days import start_of
    from collector.quarantine.batch import QuarantineError, span_between

    start = from_ if isinstance(from_, datetime) else start_of(from_)
    end = to if isinstance(to, datetime) else start_of(to) + timedelta(days=1)
    try:
        return span_between(start, end)
    except QuarantineError as error:
        raise typer.BadParameter(str(error), param_hint="--to") from None


def _show(found: Preview, configured: Settings, verb: str) -> None:
    of_them = f"of them {verb}"
    table = TextTable("day", "final", "reports", of_them, "nodes named", of_them)
    for one in found.days:
        servers = f"{one.reports} from {one.servers} servers"
        nodes = f"{one.node_reports}, {one.nodes} different"
        before = one.before
        table.add(one.day, yes_no(one.final), before.reports, servers, before.node_reports, nodes)
    out.print(table)
    table = TextTable("server", "reports", "nodes")
    for server in found.servers[:_SHOWN]:
        table.add(*server)
    out.print(table)
    if len(found.servers) > _SHOWN:
        say(f"and {len(found.servers) - _SHOWN} more servers")
    if under := found.under(configured.k_anonymity):
        say(
            f"The published numbers of {', '.join(map(str, under))} would change by fewer than"
            f" {configured.k_anonymity} nodes or servers, which a comparison discloses: --below-k"
        )


def _confirm(
    question: str, found: Preview, configured: Settings, *, below_k: bool, yes: bool
) -> None:
    """End the command if the change would disclose a node, or if the answer is no."""
    if not below_k and found.under(configured.k_anonymity):
        fail("nothing was changed; --below-k does it if the difference discloses no real node")
    if not (yes or typer.confirm(question)):
        raise typer.Exit(ExitCode.FAILED)


def _outcomes(results: list[DayResult]) -> None:
    table = TextTable("day", "outcome", "reports", "servers", "nodes")
    for one in results:
        table.add(one.day, one.outcome, one.reports, one.servers, one.nodes)
    out.print(table)
