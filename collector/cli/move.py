"""`collector move`: copy everything to another InfluxDB, and switch to it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collector.cli.common import fail, load_settings, progress_bar, say, worded_errors
from collector.cli.rollup_lock import DEFAULT_WAIT_S, RollupLock, Wait
from collector.redaction import hide

if TYPE_CHECKING:
    from collector.influx import Influx
    from collector.influx.contents import Span
    from collector.settings import Settings


class Part(StrEnum):
    """Data that may have a server of its own."""

    RAW = "raw"
    PUBLISHED = "published"


_IN_FLIGHT_S: Final = 60
"""Entries received this long before the last pass may still be on their way to the source."""


def _url(text: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from collector.setting_types import HttpUrl

    try:
        found: str = TypeAdapter(HttpUrl).validate_python(text)
    except ValidationError:
        raise typer.BadParameter("must be http://HOST:PORT or https://HOST:PORT") from None
    return found


def move(  # noqa: PLR0913, PLR0917 - the options of a command are its arguments
    to: Annotated[
        str, typer.Option("--to", parser=_url, metavar="URL", help="address of the new InfluxDB")
    ],
    token_file: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="file with its token (2.x) or user:password (1.x); it must be allowed to create"
            " databases or buckets",
        ),
    ] = None,
    org: Annotated[str, typer.Option(help="its organisation, InfluxDB 2 only")] = "",
    prefix: Annotated[
        str | None,
        typer.Option(help="prefix of the databases there; without it COLLECTOR_INFLUX_PREFIX"),
    ] = None,
    ca_file: Annotated[
        str, typer.Option(help="certificates (PEM) to trust for it, beside the system's")
    ] = "",
    switch: Annotated[
        bool,
        typer.Option(
            "--switch",
            help="the last pass: erasures and rollups wait until the collector has been restarted"
            " with the new address",
        ),
    ] = False,
    only: Annotated[
        Part | None,
        typer.Option(
            "--only",
            help="move raw data alone, or the published series alone, so that each has a server of"
            " its own",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace points that the new InfluxDB has already")
    ] = False,
    wait: Wait = DEFAULT_WAIT_S,
) -> None:
    """Copy raw reports within retention and all series to another InfluxDB, and count them there.

    The collector goes on: what it delivers meanwhile is copied by the next run, which reads
    everything again but writes only what has changed. A run that was interrupted goes on where it
    ended. With --switch it is the last run; docs/operations.md has the steps.
    """
    configured = load_settings()
    token = "" if token_file is None else token_file.read_text(encoding="utf-8").strip()
    hide(token)
    there = configured.influx_prefix if prefix is None else prefix
    from collector.influx import Influx
    from collector.parts import influx_servers

    if only is not None and there != configured.influx_prefix:
        fail("--prefix cannot differ with --only: COLLECTOR_INFLUX_PREFIX is that of both servers")
    published, raw = influx_servers(configured)
    moved = {Part.RAW: {raw.url}, Part.PUBLISHED: {published.url}}
    sources = {raw.url, published.url} if only is None else moved[only]
    if sources == {to} and there == configured.influx_prefix:
        fail(f"{to} is the InfluxDB that the settings name: there is nothing to move")

    target = Influx(to, token=token, org=org, prefix=there, ca_file=ca_file, retry_ping=True)
    with worded_errors():
        asyncio.run(
            _move(configured, target, only, switch=switch, overwrite=overwrite, wait_s=wait)
        )


async def _move(
    configured: Settings,
    target: Influx,
    only: Part | None,
    *,
    switch: bool,
    overwrite: bool,
    wait_s: int,
) -> None:
    from collector.influx import InfluxUnavailable
    from collector.move.journal import Journal
    from collector.move.move import move as move_all
    from collector.parts import influx_of
    from collector.schema import DATABASES, PUBLISHED
    from collector.state import prepare

    prepare(configured.state_dir)
    begun = datetime.now(UTC)
    async with AsyncExitStack() as stack:
        if switch:
            await stack.enter_async_context(RollupLock(configured, wait_s).held())
            begun = datetime.now(UTC)
        since_ns = _oldest_waiting(configured, begun)
        named = f"{target.url} {target.name('')}"
        journal = stack.enter_context(Journal(configured.state_dir, named))
        source = await stack.enter_async_context(influx_of(configured))
        await stack.enter_async_context(target)
        with progress_bar() as bar:
            task = bar.add_task("copying", total=None)

            def progress(name: str, span: Span) -> None:
                day = datetime.fromtimestamp(span.start // 10**9, UTC).date()
                bar.update(task, description=f"copying {name} {day}")

            try:
                totals = await move_all(
                    source,
                    target,
                    journal,
                    now=begun,
                    overwrite=overwrite,
                    progress=progress,
                    databases=[
                        name
                        for name in DATABASES
                        if only is None or (name in PUBLISHED) == (only is Part.PUBLISHED)
                    ],
                )
            except InfluxUnavailable as error:
                fail(f"{error}\nThe move is not complete: run it again, it goes on where it ended.")
        for database, found in totals.items():
            name = target.name(database)
            say(f"{name}: {found.points} points, {found.written} of them written now")
        say(f"{target.url} counts all that there was at {begun:%Y-%m-%d %H:%M:%S} UTC.")
        if switch:
            _wait_for_restart(configured, _settings_to(configured, target, only), since_ns)
            journal.forget()


def _oldest_waiting(configured: Settings, begun: datetime) -> int:
    """Time (ns) from which entries may have been delivered after the last pass read their span."""
    from collector.outbox import FILE, OutboxFile, Queue
    from collector.worker import directories

    found = [int(begun.timestamp() * 10**9)]
    for directory in directories(configured.state_dir):
        if (directory / FILE).exists():
            with OutboxFile(directory / FILE) as file:
                oldest = file.stats().waiting[Queue.INFLUX].oldest_ns
                found += [] if oldest is None else [oldest]
    return min(found) - _IN_FLIGHT_S * 10**9


def _settings_to(configured: Settings, target: Influx, only: Part | None) -> str:
    """The settings that make a collector use the target, as a sentence names them."""
    from collector.parts import influx_servers

    published, raw = influx_servers(configured)
    if only is Part.RAW:
        return f"COLLECTOR_INFLUX_RAW_URL={target.url}, and COLLECTOR_INFLUX_RAW_TOKEN and _ORG"
    words = f"COLLECTOR_INFLUX_URL={target.url}, and its token and organisation"
    if only is None:
        return f"{words}, unset COLLECTOR_INFLUX_RAW_URL" if raw != published else words
    # What is not set is taken from the settings that change.
    return (
        f"{words}, COLLECTOR_INFLUX_RAW_URL={raw.url}, and COLLECTOR_INFLUX_RAW_TOKEN and _ORG to"
        " what COLLECTOR_INFLUX_TOKEN and _ORG were"
        if raw == published
        else words
    )


def _wait_for_restart(configured: Settings, settings: str, since_ns: int) -> None:
    """Keep erasures and rollups waiting until the operator says that the collector has switched.

    Then what the source got meanwhile is delivered again, to the target.
    """
    from collector.cli.outbox import deliver_again
    from collector.outbox import Queue

    since = datetime.fromtimestamp(since_ns // 10**9, UTC)
    say(
        f"Erasures and rollups wait now; reports are taken as ever. Set {settings}, restart the"
        " collector, then press Enter."
    )
    if not sys.stdin.readline():
        fail(
            "Not switched: standard input has ended. If the collector runs with the new address"
            f" already: collector outbox replay --since {since:%Y-%m-%dT%H:%M:%S} --target influx"
        )
    count = deliver_again(configured, since_ns, (Queue.INFLUX,))
    say(f"{count} reports since {since:%H:%M:%S} UTC are delivered again, now to the new InfluxDB.")
