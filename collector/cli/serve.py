"""`collector serve` and `collector check`."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collector.cli.common import WRONG_SETTING, fail, load_settings, say, warn, worded_errors

if TYPE_CHECKING:
    from collector.settings import Settings

_LOOK_S: Final = 3.0
"""How long InfluxDB has to say its version before `serve` starts without."""
_SWITCH_S: Final = 0.0002
"""How long a thread of the outbox waits for the interpreter when a commit has ended.

With Python's 5 ms it would wait several times as long as the disk takes, and with it every sender.
"""


def serve() -> None:
    """Receive reports, deliver them to InfluxDB, and roll up the days, until SIGTERM."""
    import uvloop

    from collector import app, workers
    from collector.supervisor import CannotWork

    configured = load_settings()
    _refuse_unsupported(configured)
    sys.setswitchinterval(_SWITCH_S)
    with worded_errors():
        try:
            uvloop.run((app if configured.workers == 1 else workers).serve(configured))
        except (CannotWork, workers.WorkersError) as error:
            fail(str(error))


def _refuse_unsupported(configured: Settings) -> None:
    """Exit as for a wrong setting where InfluxDB is of a line that cannot do what is needed.

    An InfluxDB that is away, or slow to answer, is no reason not to take in reports.
    """
    from collector.influx import InfluxError
    from collector.influx.trouble import NotSupported
    from collector.parts import influx_of

    async def look() -> None:
        async with asyncio.timeout(_LOOK_S), influx_of(configured, patient=False) as influx:
            await influx.ping()

    try:
        asyncio.run(look())
    except NotSupported as error:
        warn(f"COLLECTOR_INFLUX_URL={configured.influx_url}: {error}")
        raise typer.Exit(WRONG_SETTING) from None
    except (InfluxError, TimeoutError):
        pass


def worker(
    number: Annotated[int, typer.Argument(min=0)],
    listen: Annotated[list[int], typer.Option()],
    tell: Annotated[int, typer.Option()],
) -> None:
    """One of the processes that `serve` starts where COLLECTOR_WORKERS is over 1."""
    import uvloop

    from collector import workers
    from collector.share import Share
    from collector.supervisor import CannotWork

    configured = load_settings()
    sys.setswitchinterval(_SWITCH_S)
    bound = tuple(socket.socket(fileno=one) for one in listen)
    share = Share(number, configured.workers, bound)
    with worded_errors():
        try:
            uvloop.run(workers.work(configured, share, tell))
        except CannotWork as error:
            fail(str(error))


def check() -> None:
    """Print the effective settings, try InfluxDB and the state directory, say what is wrong."""
    from collector.check import examine
    from collector.settings import shown

    configured = load_settings()
    for name, value in shown(configured).items():
        say(f"{name}={value}")
    findings = asyncio.run(examine(configured))
    for finding in findings:
        say(f"{'ok   ' if finding.good else 'WRONG'} {finding.text}")
    raise typer.Exit(0 if all(finding.good for finding in findings) else 1)
