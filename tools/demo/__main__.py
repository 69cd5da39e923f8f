"""`make demo`: the command."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from collector import logs
from collector.cli.common import fail, out
from tools.demo import MOST_DAYS, DemoError, Story
from tools.demo import demo as run_demo

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@cli.command()
def demo(
    *,
    servers: Annotated[int, typer.Option(min=1, help="made-up servers that report")] = 800,
    days: Annotated[
        int, typer.Option(min=3, max=MOST_DAYS, help="days up to today that they report")
    ] = MOST_DAYS,
    story: Annotated[
        Story, typer.Option(help="what it tells: all is well, or reports are lost for hours")
    ] = Story.HEALTHY,
    once: Annotated[bool, typer.Option("--once", help="stop when all has been shown")] = False,
) -> None:
    """Show it all at work on this machine: InfluxDB, the collector, a made-up fleet.

    Takes no setting from the environment, touches no data but its own, and leaves none.
    """
    logs.configure(form="text", level="warning")
    try:
        code = asyncio.run(run_demo(out, servers=servers, days=days, once=once, story=story))
    except DemoError as error:
        fail(str(error))
    raise typer.Exit(code)


if __name__ == "__main__":
    cli(prog_name="python -m tools.demo")
