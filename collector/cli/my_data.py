"""`collector my-data …`: show and erase a server's reports, and manage queued erasures."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterable
from contextlib import AsyncExitStack, closing, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collector.cli.commands import Commands
from collector.cli.common import (
    TextTable,
    fail,
    load_settings,
    out,
    say,
    warn,
    with_influx,
    worded_errors,
)
from collector.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from collector.memory import Action, ErasureRequest, Memory
    from collector.owners.erasure_records import Receipt
    from collector.privacy import ServerPseudonym
    from collector.settings import Settings

commands = Commands(no_args_is_help=True, help="Show and erase what is held of a server.")

_PATIENCE_S: Final = 60.0
_LOOK_S: Final = 0.2


_MACHINE: Final = "machine:"


def _uuid(text: str) -> str:
    if text.startswith(_MACHINE) and text.isascii() and len(text) > len(_MACHINE):
        # `Pseudonymiser.machine` makes the pseudonym of exactly this text.
        return text
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise typer.BadParameter(f"must be a UUID, or {_MACHINE}ID") from None


Uuid = Annotated[
    str, typer.Argument(parser=_uuid, metavar="UUID", help="a server's UUID, or machine:ID")
]
Numbers = Annotated[
    list[int] | None, typer.Argument(metavar="[ID]…", help="ids that `queue` lists")
]
All = Annotated[bool, typer.Option("--all", help="all that are queued")]


@commands.command(
    examples=[
        "collector my-data show 0d1ad5b0-6c3b-4c1e-8f5a-3b9d1d8c7e21",
        "collector my-data show machine:2c1f2c1f2c1f2c1f2c1f2c1f2c1f2c1f",
    ]
)
def show(server: Uuid) -> None:
    """List the reports that are held of a server."""
    from collector.intakes import layouts
    from collector.owners.holdings import Holdings
    from collector.parts import outboxes_of
    from collector.record_keeping import Records
    from collector.schema import ASL_VERSION, ASTERISK_VERSION

    configured = load_settings()
    with worded_errors():
        name = _name(configured, server)
        outboxes = outboxes_of(configured)
    reports = with_influx(configured, lambda influx: Holdings(influx, outboxes, layouts()).of(name))
    table = TextTable("received", "held in", "nodes", "Asterisk", "AllStarLink", "kernel")
    for report in reports:
        values: Iterable[object] = ("-",) * 3
        if (point := report.server) is not None:
            versions = (point.tags.get(tag.name, "") for tag in (ASTERISK_VERSION, ASL_VERSION))
            values = (*versions, point.fields.get("kernel", ""))
        places = ", ".join(sorted(report.places))
        table.add(_moment(report.received_ns), places, len(report.nodes), *values)
    out.print(table)
    with worded_errors(), closing(Records(configured)) as store:
        records = len(store.of_owner(name))
    say(f"{len(reports)} reports" + (f", {records} records" if records else ""))


@commands.command(examples=["collector my-data erase 0d1ad5b0-6c3b-4c1e-8f5a-3b9d1d8c7e21"])
def erase(server: Uuid) -> None:
    """Erase all raw reports of a server, and print a receipt."""
    _request(server, "erase")


@commands.command(
    "opt-out", examples=["collector my-data opt-out 0d1ad5b0-6c3b-4c1e-8f5a-3b9d1d8c7e21"]
)
def opt_out(server: Uuid) -> None:
    """Erase all raw reports of a server, and drop what it sends from now on."""
    _request(server, "opt-out")


@commands.command(
    "opt-in", examples=["collector my-data opt-in 0d1ad5b0-6c3b-4c1e-8f5a-3b9d1d8c7e21"]
)
def opt_in(server: Uuid) -> None:
    """End an opt-out."""
    _request(server, "opt-in")


@commands.command(examples=["collector my-data queue"])
def queue() -> None:
    """List the erasures over the hourly limit, which wait for an operator."""
    from collector.memory import State

    with worded_errors():
        requests = _memory().erasures.all(State.QUEUED)
    table = TextTable("id", "asked", "for")
    for one in requests:
        table.add(one.id, _moment(one.asked_ns), one.action)
    out.print(table)


@commands.command(examples=["collector my-data release 12 13", "collector my-data release --all"])
def release(numbers: Numbers = None, everything: All = False) -> None:
    """Let queued erasures be done; a running collector takes them up by itself."""
    with worded_errors():
        memory = _memory()
        chosen = _chosen(memory, numbers, everything)
        _tell("released", memory.erasures.release(chosen), chosen)


@commands.command(examples=["collector my-data drop 12"])
def drop(numbers: Numbers = None, everything: All = False) -> None:
    """Forget queued erasures, undone."""
    with worded_errors():
        memory = _memory()
        chosen = _chosen(memory, numbers, everything)
        _tell("dropped", memory.erasures.drop(chosen), chosen)


@commands.command(examples=["collector my-data forget receive-3fa1c2"])
def forget(
    name: Annotated[str, typer.Argument(help="name of the process, from `collector check`")],
) -> None:
    """Forget a process whose state directory is gone for good, so that no erasure names it.

    Only with NATS. A process that still runs states itself again.
    """
    configured = load_settings()
    if not configured.nats_url:
        fail("COLLECTOR_NATS_URL is not set: no other process carries out orders")
    with worded_errors():
        known = asyncio.run(_forget(configured, name))
    if not known:
        fail(f"there is no {name}")
    say(f"{name} is forgotten")


async def _forget(configured: Settings, name: str) -> bool:
    from collector.jetstream.board import Board
    from collector.jetstream.connection import Connection
    from collector.jetstream.participants import forget as forgotten

    async with Connection(configured, name="collector my-data") as to:
        return await forgotten(Board(to, configured), name)


def _chosen(memory: Memory, numbers: list[int] | None, everything: bool) -> list[int]:
    from collector.memory import State

    if everything == bool(numbers):
        raise typer.BadParameter("give ids, or --all")
    return numbers or [one.id for one in memory.erasures.all(State.QUEUED)]


def _tell(what: str, count: int, chosen: list[int]) -> None:
    say(f"{count} {what}")
    if count < len({*chosen}):
        fail("the others are not queued: `collector my-data queue` lists those that are")


def _request(server: str, word: str) -> None:
    from collector.memory import Action
    from collector.owners.erasure_records import Receipt

    configured = load_settings()
    with worded_errors():
        name = _name(configured, server)
        action = Action(word)
        memory = _memory()
        number = memory.erasures.ask(name, action, time.time_ns())
        try:
            done = _carried_out(configured, memory, number)
        except KeyboardInterrupt:
            warn("Interrupted: the request is stored, and `collector serve` carries it out.")
            raise
    if done is None:
        say(
            "The request is stored: InfluxDB is not available now. `collector serve` carries it"
            " out as soon as it is."
        )
        raise typer.Exit(ExitCode.FAILED)
    _print_receipt(Receipt.read(done.plan), action)


def _carried_out(configured: Settings, memory: Memory, number: int) -> ErasureRequest | None:
    """Carry out an erasure, or let a running collector do it; None if it is not done yet."""
    from collector.state import StateInUse, locked

    try:
        with locked(configured.state_dir):
            asyncio.run(_do(configured, memory))
            return _finished(memory, number)
    except StateInUse:
        return _wait_for(memory, number)


def _finished(memory: Memory, number: int) -> ErasureRequest | None:
    from collector.memory import State

    found = memory.erasures.one(number)
    return found if found is not None and found.state is State.DONE else None


def _wait_for(memory: Memory, number: int) -> ErasureRequest | None:
    """Wait until an erasure is done and return it; None after 60 s."""
    deadline = time.monotonic() + _PATIENCE_S
    while (done := _finished(memory, number)) is None and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    return done


async def _do(configured: Settings, memory: Memory) -> None:
    """Carry out all pending requests in this process, if InfluxDB allows it."""
    from collector.influx import InfluxError
    from collector.intakes import layouts
    from collector.metrics import Metrics
    from collector.orders import OrdersUnavailable
    from collector.outbox.delivering import DeliveryLock
    from collector.owners.parts import Parts
    from collector.owners.services import OwnerServices
    from collector.parts import daily_of, hops_of, influx_of, outboxes_of, rollup_lock
    from collector.privacy import Pseudonymiser
    from collector.record_keeping import Records
    from collector.state import pseudonym_key

    async with AsyncExitStack() as stack:
        records = stack.enter_context(closing(Records(configured)))
        influx = await stack.enter_async_context(influx_of(configured))
        parts = Parts(
            influx,
            memory,
            outboxes_of(configured),
            daily_of(configured, influx),
            Pseudonymiser(pseudonym_key(configured.key_file, configured.state_dir)),
            Metrics(),
            DeliveryLock(configured.state_dir),
            await stack.enter_async_context(rollup_lock(configured, "a command")),
            records,
            await stack.enter_async_context(hops_of(configured)),
        )
        owners = OwnerServices(configured, parts, layouts=layouts(), changed=lambda: None)
        await owners.open()
        if await owners.erasures.once():
            # If sharing fails, the next start of the collector repeats it.
            with suppress(InfluxError, OrdersUnavailable):
                await owners.sync.publish()


def _print_receipt(receipt: Receipt, action: Action) -> None:
    from collector.memory import Action

    if action is Action.OPT_IN:
        say("Reports are stored from now on.")
        return
    rows = receipt.reports + receipt.node_reports
    say(f"raw reports erased: {receipt.reports}, in {rows} rows")
    if receipt.records:
        say(f"records erased: {receipt.records}")
    say(
        f"in the outbox: {receipt.waiting} that waited, {receipt.copies} copies,"
        f" {receipt.dead_letters} dead letters"
    )
    if receipt.elsewhere is not None:
        say(f"in the stream: {receipt.elsewhere.stream}")
        for name, one in receipt.elsewhere.cleared.items():
            say(
                f"at {name}: {one.waiting} that waited, {one.copies} copies,"
                f" {one.dead_letters} dead letters"
            )
        say(f"carried out by: {', '.join(receipt.elsewhere.carried_out) or 'no other process'}")
        for name, at in receipt.elsewhere.not_yet.items():
            say(f"not yet by {name}, last heard of at {at}: it does so when it is back")
    if receipt.final_days:
        say(f"final days, which stay as published: {', '.join(receipt.final_days)}")
    if action is Action.OPT_OUT:
        say("Reports are dropped from now on, by every collector of this InfluxDB.")


def _name(configured: Settings, server: str) -> ServerPseudonym:
    from collector.privacy import Pseudonymiser
    from collector.state import pseudonym_key

    if not configured.key_file.exists():
        fail(f"there is no pseudonym key at {configured.key_file}")
    return Pseudonymiser(pseudonym_key(configured.key_file, configured.state_dir)).server(server)


def _moment(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 10**9, UTC).isoformat(sep=" ")[:19]


def _memory() -> Memory:
    """The memory that all workers share."""
    from collector.upgrade import migrated

    return migrated(load_settings().state_dir)
