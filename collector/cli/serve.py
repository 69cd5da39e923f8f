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


def serve(
    new_pseudonym_key: Annotated[
        bool,
        typer.Option(
            "--new-pseudonym-key",
            help="Begin with a new or another pseudonym key, though reports were taken under one:"
            " every server and node counts anew.",
        ),
    ] = False,
) -> None:
    """Receive reports, deliver them to InfluxDB, and roll up the days, until SIGTERM."""
    import uvloop

    from collector import app, workers
    from collector.supervisor import CannotWork

    configured = load_settings()
    _refuse_unsupported(configured)
    _see_to_key(configured, new=new_pseudonym_key)
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
    from collector.influx.diagnosis import NotSupported
    from collector.parts import influx_of

    async def look() -> None:
        async with asyncio.timeout(_LOOK_S), influx_of(configured, retry_ping=False) as influx:
            await influx.ping()

    try:
        asyncio.run(look())
    except NotSupported as error:
        warn(f"COLLECTOR_INFLUX_URL={configured.influx_url}: {error}")
        raise typer.Exit(WRONG_SETTING) from None
    except (InfluxError, TimeoutError):
        pass


def _see_to_key(configured: Settings, *, new: bool) -> None:
    """Exit as for a wrong setting where the pseudonym key is lost, unless a new one is meant."""
    from collector.share import directories
    from collector.state import KeyLost, prepare, pseudonym_key

    with worded_errors():
        prepare(configured.state_dir)
        if not new and not configured.key_file.exists() and _has_reports(configured):
            warn(
                f"the pseudonym key {configured.key_file} is missing, though there are reports that"
                " were taken under one: under a new key every server and node would be counted"
                " twice. Copy the key from the collector that took them, or its backup. Where it is"
                " lost for good, `collector serve --new-pseudonym-key` begins with a new one"
            )
            raise typer.Exit(WRONG_SETTING)
        try:
            for directory in directories(configured.state_dir):
                pseudonym_key(configured.key_file, directory, new=new)
        except KeyLost as error:
            warn(str(error))
            raise typer.Exit(WRONG_SETTING) from None


def _has_reports(configured: Settings) -> bool:
    """Whether an outbox took reports, or InfluxDB holds raw ones.

    A first start does not wait for an InfluxDB that is silent: reports are taken in without it.
    """
    from collector.influx import InfluxError, Select, read
    from collector.outbox import FILE, OutboxFile
    from collector.parts import influx_of
    from collector.schema import RAW, SERVER_REPORT
    from collector.share import directories

    for path in [directory / FILE for directory in directories(configured.state_dir)]:
        if path.exists():
            with OutboxFile(path) as file:
                if file.last_id():
                    return True

    async def look() -> bool:
        async with asyncio.timeout(_LOOK_S), influx_of(configured, retry_ping=False) as influx:
            return bool(
                await read(influx, Select(RAW, SERVER_REPORT.name, ["server"], more="LIMIT 1"))
            )

    try:
        return asyncio.run(look())
    except (InfluxError, TimeoutError):
        return False


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
