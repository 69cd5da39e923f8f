"""`collector provision`: create databases and scoped credentials."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collector.cli.common import TextTable, fail, load_settings, out, say, warn, worded_errors
from collector.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from collector.influx.access import Role
    from collector.provision import Issued
    from collector.settings import Settings


def provision(
    tokens_dir: Annotated[
        Path, typer.Option("--tokens-dir", file_okay=False, help="directory for the credentials")
    ],
    rotate: Annotated[
        bool,
        typer.Option("--rotate", help="replace all credentials; the old ones work until --finish"),
    ] = False,
    finish: Annotated[
        bool,
        typer.Option(
            "--finish", help="delete the credentials that --rotate replaced; with --rotate, at once"
        ),
    ] = False,
) -> None:
    """Create databases, and scoped tokens (InfluxDB 2) or users (1.x); with NATS, the stream.

    COLLECTOR_INFLUX_TOKEN must be an administrator's token, on 1.x `user:password`; so must
    COLLECTOR_INFLUX_RAW_TOKEN where raw data has its own InfluxDB, whose files end with `-raw`.
    """
    configured = load_settings(as_owner=False)
    if configured.nats_url:
        _provision_stream(configured)
    with worded_errors():
        issued, ended = asyncio.run(
            _provision(configured, tokens_dir, rotate=rotate, finish_rotation=finish)
        )
    if not issued:
        return
    table = TextTable("file", "for", "outcome")
    for one in issued:
        table.add(one.file.name, one.role.purpose, one.outcome)
    out.print(table)
    say(
        f"The credentials are in {tokens_dir}: `.token` files for COLLECTOR_INFLUX_TOKEN_FILE,"
        " `.header` files for Grafana's $__file{}. Restart the programs whose credentials were"
        " replaced."
    )
    if ended:
        say(f"{sum(ended.values())} old credentials were deleted.")
    elif rotate:
        say(
            "The old ones remain valid. Restart the collector and both Grafanas with the new ones,"
            " then run this command with --finish instead of --rotate."
        )
    elif finish:
        say("No rotation is in progress: nothing was deleted.")


async def _provision(
    configured: Settings, directory: Path, *, rotate: bool, finish_rotation: bool
) -> tuple[list[Issued], dict[Role, int]]:
    from collector import parts
    from collector.influx.databases import ensure, retentions
    from collector.influx.v2 import speaks_v2
    from collector.provision import finish, issue, requires_password
    from collector.retention import prepare

    async with parts.influx_of(configured) as influx:
        versions = {server: await server.ping() for server in influx.servers()}
        wanted = parts.retention(configured)
        for name in await ensure(influx, wanted):
            say(f"made {name}")
        await prepare(influx, wanted)
        for server, version in versions.items():
            if speaks_v2(version):
                continue
            if not server.token:
                warn(
                    f"no users were made: {server.variables}_TOKEN is not an administrator's"
                    " `user:password`"
                )
                return [], {}
            if not await requires_password(server):
                warn(
                    f"InfluxDB at {server.url} does not require passwords: the permissions of the"
                    " users below have no effect until `auth-enabled` is set in its configuration"
                )
        ended: dict[Role, int] = {}
        if finish_rotation and not rotate:
            # `issue` would replace, and so delete, credentials that do not work.
            ended = await finish(influx, directory)
        # A sender that was disabled must not take its data from the operators.
        there = await retentions(influx, parts.of_senders(configured))
        issued = await issue(
            influx,
            directory,
            rotate=rotate,
            of_senders=[name for name, seconds in there.items() if seconds is not None],
        )
        if finish_rotation and rotate:
            ended = await finish(influx, directory)
        return issued, ended


def _provision_stream(configured: Settings) -> None:
    """Make the stream and its consumers, or change them to what the settings say."""
    from collector.jetstream.extra import check_installed
    from collector.settings import SettingsError

    try:
        check_installed(configured)
    except SettingsError as error:
        fail(str(error), ExitCode.WRONG_SETTING)
    from collector.jetstream.board import Board
    from collector.jetstream.connection import Connection
    from collector.jetstream.stream import adapt, ensure

    async def make() -> None:
        async with Connection(configured, name="collector provision") as to:
            jetstream = await to.jetstream()
            for made in await ensure(jetstream, configured):
                say(f"made {made}")
            for one in await adapt(jetstream, configured):
                if one.fixed:
                    warn(f"{one}, which no server changes: delete the stream when it is empty")
                else:
                    say(f"changed {one}")
            await Board(to, configured).adapt()

    with worded_errors():
        asyncio.run(make())
