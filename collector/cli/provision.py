"""`collector provision`: databases and scoped access."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from collector.cli.common import load_settings, out, say, warn, worded_errors

if TYPE_CHECKING:
    from collector.influx.access import Role
    from collector.provision import Issued
    from collector.settings import Settings


def provision(
    tokens_dir: Annotated[
        Path, typer.Option("--tokens-dir", file_okay=False, help="where the credentials are kept")
    ],
    rotate: Annotated[
        bool,
        typer.Option("--rotate", help="replace every credential; the old ones work until --finish"),
    ] = False,
    finish: Annotated[
        bool,
        typer.Option("--finish", help="end what --rotate replaced; with --rotate, at once"),
    ] = False,
) -> None:
    """Make databases, and scoped tokens (InfluxDB 2) or users (1.x), with an administrator's token.

    The administrator's is the one in COLLECTOR_INFLUX_TOKEN, on 1.x as `user:password`.
    """
    configured = load_settings(as_owner=False)
    with worded_errors():
        issued, ended = asyncio.run(_provision(configured, tokens_dir, rotate=rotate, end=finish))
    if not issued:
        return
    table = Table("file", "for", "outcome")
    for one in issued:
        table.add_row(one.file.name, one.role.purpose, one.outcome.value)
    out.print(table)
    say(
        f"They are in {tokens_dir}. Beside each `.token`, as COLLECTOR_INFLUX_TOKEN_FILE takes it,"
        " is a `.header`, as Grafana's $__file{} takes it. What uses a replaced one is to be"
        " restarted."
    )
    if ended:
        say(f"{sum(ended.values())} old credentials were ended.")
    elif rotate:
        say(
            "The old ones go on working. Restart the collector and both Grafanas with the new ones,"
            " then run this with --finish in the place of --rotate."
        )
    elif finish:
        say("No rotation was begun: nothing was ended.")


async def _provision(
    configured: Settings, directory: Path, *, rotate: bool, end: bool
) -> tuple[list[Issued], dict[Role, int]]:
    from collector import parts
    from collector.influx.databases import ensure
    from collector.influx.v2 import speaks_v2
    from collector.provision import asks_for_password, finish, issue
    from collector.retention import prepare

    async with parts.influx_of(configured) as influx:
        version = await influx.ping()
        wanted = parts.retention(configured)
        for name in await ensure(influx, wanted):
            say(f"made {name}")
        await prepare(influx, wanted)
        if not speaks_v2(version):
            if not influx.token:
                warn(
                    "no users were made: COLLECTOR_INFLUX_TOKEN holds no administrator's"
                    " `user:password`"
                )
                return [], {}
            if not await asks_for_password(influx):
                warn(
                    f"InfluxDB at {influx.url} asks nobody for a password: what the users below"
                    " may do holds only once `auth-enabled` is set in its configuration"
                )
        ended: dict[Role, int] = {}
        if end and not rotate:
            # Before a look that would replace, and so end, what does not work.
            ended = await finish(influx, directory)
        issued = await issue(influx, directory, rotate=rotate)
        if end and rotate:
            ended = await finish(influx, directory)
        return issued, ended
