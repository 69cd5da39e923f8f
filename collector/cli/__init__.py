"""The `collector` command: what each command takes and prints; the work is elsewhere.

The modules of this package import at their top only what a command line's syntax needs. Each
command imports the rest when it runs, so that help and short commands start quickly.
"""

from __future__ import annotations

import sys

import typer

from collector import redaction
from collector.cli import (
    backup,
    import_,
    librenms,
    my_data,
    outbox,
    provision,
    quarantine,
    retention,
    rollup,
    serve,
    statsd,
    tags,
)

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Receives AllStarLink usage reports and publishes honest daily series.",
)
cli.command("serve")(serve.serve)
cli.command("worker", hidden=True)(serve.worker)
cli.command("check")(serve.check)
cli.command("rollup")(rollup.rollup)
cli.command("verify")(rollup.verify_)
cli.command("backup")(backup.backup)
cli.command("restore")(backup.restore)
cli.command("provision")(provision.provision)
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
    redaction.hide_in_addresses(*sys.argv[1:])
    redaction.redact_streams()
    cli(prog_name="collector")
