"""The `collector` command: what each command takes and prints; the work is elsewhere."""

from __future__ import annotations

import typer

from collector.cli import outbox, rollup, serve

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Receives AllStarLink usage reports and publishes honest daily series.",
)
cli.command("serve")(serve.serve)
cli.command("check")(serve.check)
cli.command("rollup")(rollup.rollup)
cli.command("verify")(rollup.verify_)
cli.add_typer(outbox.commands, name="outbox")


def main() -> None:
    """Run the command that the arguments name."""
    cli(prog_name="collector")
