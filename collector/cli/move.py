"""`collector move`: copy everything to another InfluxDB, and switch to it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collector.cli.common import fail, load_settings, progress_bar, say, worded_errors
from collector.cli.rollup_lock import DEFAULT_WAIT_S, RollupLock, Wait
from collector.redaction import hide

if TYPE_CHECKING:
    from collector.influx import Influx
    from collector.influx.contents import Span
    from collector.move.copy import Totals
    from collector.settings import Settings

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


def move(
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
    if (to, there) == (configured.influx_url, configured.influx_prefix):
        fail(f"{to} is the InfluxDB that the settings name: there is nothing to move")
    from collector.influx import Influx

    target = Influx(to, token=token, org=org, prefix=there, ca_file=ca_file, retry_ping=True)
    with worded_errors():
        asyncio.run(_move(configured, target, switch=switch, overwrite=overwrite, wait_s=wait))


async def _move(
    configured: Settings, target: Influx, *, switch: bool, overwrite: bool, wait_s: int
) -> None:
    from collector.influx import InfluxUnavailable
    from collector.move.journal import Journal
    from collector.move.move import move as move_all
    from collector.parts import influx_of
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
                    source, target, journal, now=begun, overwrite=overwrite, progress=progress
                )
            except InfluxUnavailable as error:
                fail(f"{error}\nThe move is not complete: run it again, it goes on where it ended.")
        _tell(target, totals, begun)
        if switch:
            _wait_for_restart(configured, target, since_ns)
            journal.forget()


def _tell(target: Influx, totals: dict[str, Totals], begun: datetime) -> None:
    for database, found in totals.items():
        say(f"{target.name(database)}: {found.points} points, {found.written} of them written now")
    say(f"{target.url} counts all that there was at {begun:%Y-%m-%d %H:%M:%S} UTC.")


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


def _wait_for_restart(configured: Settings, target: Influx, since_ns: int) -> None:
    """Keep erasures and rollups waiting until the operator says that the collector has switched.

    Then what the source got meanwhile is delivered again, to the target.
    """
    from collector.cli.outbox import deliver_again
    from collector.outbox import Queue

    since = datetime.fromtimestamp(since_ns // 10**9, UTC)
    say(
        "Erasures and rollups wait now; reports are taken as ever. Set COLLECTOR_INFLUX_URL"
        f"={target.url}, and its token and organisation, restart the collector, then press Enter."
    )
    if not sys.stdin.readline():
        fail(
            "Not switched: standard input has ended. If the collector runs with the new address"
            f" already: collector outbox replay --since {since:%Y-%m-%dT%H:%M:%S} --target influx"
        )
    count = deliver_again(configured, since_ns, (Queue.INFLUX,))
    say(f"{count} reports since {since:%H:%M:%S} UTC are delivered again, now to the new InfluxDB.")
