"""`collector serve`, `receive` and `publish`, `check`, and the command of a worker process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collector.cli.common import fail, load_settings, say, warn, worded_errors
from collector.cli.exit_codes import ExitCode
from collector.orders import PUBLISHER

if TYPE_CHECKING:
    from collector.settings import Settings

_LOOK_S: Final = 3.0
"""Longest wait in s for an answer of InfluxDB; then `serve` starts without one."""


NewKey = Annotated[
    bool,
    typer.Option(
        "--new-pseudonym-key",
        help="Begin with a new or another pseudonym key, though reports were taken under one:"
        " every server and node counts anew.",
    ),
]


def serve(new_pseudonym_key: NewKey = False) -> None:
    """Receive reports, deliver them to InfluxDB, and roll up the days, until SIGTERM."""
    _receive("serve", new_key=new_pseudonym_key)


def receive(new_pseudonym_key: NewKey = False) -> None:
    """Receive reports and deliver them to InfluxDB, until SIGTERM.

    It also serves the owners' requests. It rolls up no day and shows no numbers: `collector
    publish` does, beside it or on another machine.
    """
    _receive("receive", new_key=new_pseudonym_key)


def publish() -> None:
    """Roll up the days and serve the pages and downloads, until SIGTERM.

    It takes no reports: `collector receive` does, beside it or on other machines.
    """
    configured = _checked(load_settings())
    if configured.nodelist_url and not configured.key_file.exists():
        warn(
            f"there is no pseudonym key {configured.key_file}: days are published without their"
            " share of the node list; copy the key from a receiver, and start again"
        )
        configured = configured.model_copy(update={"nodelist_url": ""})
    # One process does all of its work.
    _run(PUBLISHER, configured.model_copy(update={"workers": 1}))


def write() -> None:
    """Store the reports that JetStream holds in InfluxDB and the records store, until SIGTERM.

    Any number of these processes share the work, each with a state directory of its own for dead
    letters. COLLECTOR_NATS_URL must be set.
    """
    import uvloop

    configured = load_settings()
    if not configured.nats_url:
        fail(
            "COLLECTOR_NATS_URL is not set: there is no stream to write from",
            ExitCode.WRONG_SETTING,
        )
    _checked(configured)
    with worded_errors():
        from collector.app.writing import write as run
        from collector.state import prepare

        prepare(configured.state_dir)
        uvloop.run(run(configured))


def _receive(role: str, *, new_key: bool) -> None:
    """Run a role that takes reports."""
    configured = _checked(load_settings())
    _require_key(configured, new=new_key)
    warn_of_memory(configured)
    _run(role, configured)


def _run(role: str, configured: Settings) -> None:
    """Run a role in as many processes as the settings say; exit with status 1 if it cannot work."""
    import uvloop

    from collector import app, workers
    from collector.app.roles import ROLES

    with worded_errors():
        module = app if configured.workers == 1 else workers
        uvloop.run(module.serve(configured, ROLES[role]))


def warn_of_memory(configured: Settings) -> None:
    """Warn if the memory limit of this process's control group is too low for its workers."""
    from collector import cgroup

    limit, needed = cgroup.memory_limit(), cgroup.memory_needed(configured.workers)
    if limit is not None and limit < needed:
        warn(
            f"the memory limit is {limit >> 20} MiB, and {configured.workers} workers may need"
            f" {needed >> 20} MiB: raise MemoryMax= of the unit, or LIMIT_MEMORY in .env of the"
            " compose file, or the kernel may kill them"
        )


def _checked(configured: Settings) -> Settings:
    """Exit with status 2 if a file that a setting names, or InfluxDB's version, is wrong.

    An InfluxDB that is unreachable or slow does not stop the start: reports wait in the outbox.
    """
    from collector.app import check_files
    from collector.influx import Influx, InfluxError
    from collector.influx.diagnosis import NotSupported
    from collector.parts import influx_of
    from collector.settings import SettingsError

    try:
        check_files(configured)
    except SettingsError as error:
        fail(str(error), ExitCode.WRONG_SETTING)

    async def look() -> None:
        async with asyncio.timeout(_LOOK_S), influx_of(configured, retry_ping=False) as influx:
            await asyncio.gather(*map(look_at, influx.servers()))

    async def look_at(server: Influx) -> None:
        try:
            await server.ping()
        except NotSupported as error:
            fail(f"{server.variables}_URL={server.url}: {error}", ExitCode.WRONG_SETTING)
        except InfluxError:
            pass

    with contextlib.suppress(TimeoutError):
        asyncio.run(look())
    return configured


def _require_key(configured: Settings, *, new: bool) -> None:
    """Exit with status 2 if the pseudonym key is lost, unless a `new` one is asked for."""
    from collector.state import KeyLost, prepare, pseudonym_key
    from collector.worker import directories

    with worded_errors():
        prepare(configured.state_dir)
        if not new and not configured.key_file.exists() and _has_reports(configured):
            fail(
                f"the pseudonym key {configured.key_file} is missing, though there are reports that"
                " were taken under one: under a new key every server and node would be counted"
                " twice. Copy the key from the collector that took them, or its backup. Where it is"
                " lost for good, `collector serve --new-pseudonym-key` begins with a new one",
                ExitCode.WRONG_SETTING,
            )
        try:
            for directory in directories(configured.state_dir):
                pseudonym_key(configured.key_file, directory, new=new)
        except KeyLost as error:
            fail(str(error), ExitCode.WRONG_SETTING)


def _has_reports(configured: Settings) -> bool:
    """Whether an outbox has ever stored reports, or InfluxDB holds raw ones.

    If InfluxDB does not answer, the outboxes alone decide: a first start must not wait for it.
    """
    from collector.influx import InfluxError, Select, read
    from collector.outbox import FILE, OutboxFile
    from collector.parts import influx_of
    from collector.schema import RAW, SERVER_REPORT
    from collector.worker import directories

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
    # A parent of an earlier version starts new workers with --tell.
    health_fd: Annotated[int, typer.Option("--health-fd", "--tell")],
    statsd: Annotated[list[str] | None, typer.Option(metavar="PLACE:FD")] = None,
    role: Annotated[str, typer.Option()] = "serve",
) -> None:
    """One of the processes that `serve` and `receive` start where COLLECTOR_WORKERS is over 1."""
    import uvloop

    from collector import workers
    from collector.app.roles import ROLES
    from collector.worker import Worker

    configured = load_settings()
    bound = tuple(socket.socket(fileno=one) for one in listen)
    placed = [map(int, one.split(":")) for one in statsd or ()]
    inherited = tuple((place, socket.socket(fileno=fd)) for place, fd in placed)
    this = Worker(number, configured.workers, bound, inherited)
    with worded_errors():
        uvloop.run(workers.work(configured, this, health_fd, ROLES[role]))


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
    raise typer.Exit(ExitCode.DONE if all(one.good for one in findings) else ExitCode.FAILED)
