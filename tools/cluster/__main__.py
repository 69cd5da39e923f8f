"""`make demo-cluster`: the command."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from collector import logs
from collector.cli.common import fail, out
from tools.cluster.run import DemoError, Options
from tools.cluster.run import demo as run_demo

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@cli.command()
def demo(
    *,
    seconds: Annotated[
        float, typer.Option(min=0, help="settle up after this time; 0: at Ctrl-C")
    ] = 0,
    kills: Annotated[int, typer.Option(min=0, help="settle up after so many; 0: at Ctrl-C")] = 0,
    every: Annotated[float, typer.Option(min=0.1, help="seconds from one to the next")] = 10,
    away: Annotated[float, typer.Option(min=0.1, help="seconds until it is started again")] = 4,
    rate: Annotated[float, typer.Option(min=1, max=500, help="reports a second")] = 40,
    lease: Annotated[int, typer.Option(min=1, max=60, help="COLLECTOR_LEASE in seconds")] = 10,
    seed: Annotated[int, typer.Option(help="chooses what is killed")] = 1,
) -> None:
    """Show a whole cluster at work on this machine while its processes are killed.

    Takes no setting from the environment, touches no data but its own, and leaves none. Ctrl-C
    stops the senders and settles up; a second one ends it at once. Exit code 1: a report was lost
    or stored twice.
    """
    logs.configure(form="text", level="warning")
    options = Options(
        seconds=seconds,
        kills=kills,
        every_s=every,
        away_s=away,
        rate=rate,
        lease_s=lease,
        seed=seed,
    )
    try:
        code = asyncio.run(run_demo(out, options))
    except DemoError as error:
        fail(str(error))
    raise typer.Exit(code)


if __name__ == "__main__":
    cli(prog_name="python -m tools.cluster")
