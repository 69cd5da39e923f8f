"""`collector outbox …`: look into the outbox."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import typer
from rich.table import Table
from rich.text import Text

from collector.cli.common import fail, load_settings, out, say, worded_errors
from collector.outbox import FILE, OutboxFile

commands = typer.Typer(no_args_is_help=True, help="Look into the outbox.")


@commands.command()
def dead() -> None:
    """List the lines that InfluxDB refused for good, with its words."""
    with _file() as file:
        letters = file.dead_letters()
    table = Table("id", "received", "refused because", "line")
    for letter in letters:
        received = datetime.fromtimestamp(letter.received_ns / 1e9, UTC)
        table.add_row(
            str(letter.id),
            received.isoformat(timespec="seconds"),
            Text(letter.reason),
            Text(letter.line.decode(errors="replace")),
        )
    out.print(table)


@commands.command()
def retry() -> None:
    """Send every dead letter to InfluxDB again; a running collector takes them up by itself."""
    with _file() as file:
        count = file.retry_dead_letters()
    say(f"{count} lines wait to be sent again")


@contextmanager
def _file() -> Iterator[OutboxFile]:
    path = load_settings().state_dir / FILE
    if not path.exists():
        fail(f"there is no outbox at {path}: is COLLECTOR_STATE_DIR right?")
    with worded_errors(), OutboxFile(path) as file:
        yield file
