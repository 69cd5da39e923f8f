"""The `collector` command: what each command takes and prints; the work is elsewhere.

The modules of this package import at their top only what a command line's syntax needs. Each
command imports the rest when it runs, so that help and short commands start quickly.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import typer

from collector import redaction
from collector.cli import (
    backup,
    event,
    import_,
    librenms,
    move,
    my_data,
    outbox,
    provision,
    quarantine,
    retention,
    rollup,
    serve,
    statsd,
    status,
    tags,
)
from collector.cli.commands import Commands

_GARBAGE_THRESHOLD: Final = (200_000, 20, 50)
"""Thresholds of Python's garbage collector until a process serves (`app.tune_interpreter`).

Modules live as long as the process: at Python's threshold of 700 objects, collections would take a
sixth of a start and find nearly all in use. A start makes 130 000.
"""

cli = Commands(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Receives AllStarLink usage reports and publishes honest daily series.",
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"collector {version('usage-collector')}")
        raise typer.Exit


@cli.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=_print_version,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Options before the command."""


_COMMANDS: Final[Sequence[tuple[str, Callable[..., None], *tuple[str, ...]]]] = (
    (
        "serve",
        serve.serve,
        "collector serve",
        "COLLECTOR_INFLUX_URL=http://influx.lan:8086 collector serve",
    ),
    ("receive", serve.receive, "collector receive", "COLLECTOR_WORKERS=4 collector receive"),
    (
        "publish",
        serve.publish,
        "collector publish",
        "COLLECTOR_LISTEN=127.0.0.1:16082 collector publish",
    ),
    ("write", serve.write, "COLLECTOR_NATS_URL=nats://n1:4222,nats://n2:4222 collector write"),
    ("check", serve.check, "collector check"),
    ("status", status.status, "collector status", "collector status --json"),
    ("doctor", status.doctor, "collector doctor", "collector doctor --json"),
    (
        "rollup",
        rollup.rollup,
        "collector rollup --from yesterday",
        "collector rollup --from 2026-11-01 --to yesterday --resume",
    ),
    (
        "verify",
        rollup.verify_,
        "collector verify --from 2026-11-01 --to yesterday",
        "collector verify --from 2026-11-01 --to yesterday --repair",
    ),
    (
        "backup",
        backup.backup,
        "collector backup /var/backups/usage-2026-11-25",
        "collector backup --with-key /root/usage-with-key",
    ),
    (
        "restore",
        backup.restore,
        "collector restore --dry-run /var/backups/usage-2026-11-25",
        "collector restore /var/backups/usage-2026-11-25",
    ),
    (
        "move",
        move.move,
        "collector move --to http://new:8086 --token-file token --org usage",
        "collector move --to http://new:8086 --token-file token --org usage --switch",
    ),
    (
        "provision",
        provision.provision,
        "collector provision --tokens-dir /etc/collector/tokens",
        "collector provision --tokens-dir /etc/collector/tokens --rotate --finish",
    ),
)
"""Name, function and examples of each command that is in no group."""
for name, function, *examples in _COMMANDS:
    cli.command(name, examples=examples)(function)
cli.command("worker", hidden=True)(serve.worker)
cli.add_typer(event.commands, name="event")
cli.add_typer(import_.commands, name="import")
cli.add_typer(librenms.commands, name="librenms")
cli.add_typer(my_data.commands, name="my-data")
cli.add_typer(outbox.commands, name="outbox")
cli.add_typer(quarantine.commands, name="quarantine")
cli.add_typer(retention.commands, name="retention")
cli.add_typer(statsd.commands, name="statsd")
cli.add_typer(tags.commands, name="tags")


def main() -> None:
    """Run the command that the arguments name; no secret is printed, whatever goes wrong."""
    gc.set_threshold(*_GARBAGE_THRESHOLD)
    redaction.hide_in_addresses(*sys.argv[1:])
    redaction.redact_streams()
    try:
        cli.only(sys.argv[1:])(prog_name="collector")
    except OSError as error:
        if error.filename is not None:
            # Such as a file that the user of the state directory may not read.
            sys.exit(str(error))
        if error.errno != errno.ENOSPC:
            raise
        # What is left in the stream's buffer would fail again when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(f"the output cannot be written: {error.strerror}")
