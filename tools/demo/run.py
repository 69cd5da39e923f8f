"""Runs the demo: starts its processes, waits, stops them and removes their data in any case."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import aiohttp
from pydantic import SecretStr
from rich.console import Console

from collector import parts
from collector.influx import InfluxError
from collector.records.errors import RecordsError
from collector.setting_types import Address
from collector.settings import Settings
from collector.state import StateError
from tools.demo.asterisks import Asterisks
from tools.demo.closing import (
    say_alerts,
    say_how_it_goes_on,
    say_no_grafana,
    say_where,
    tell_changes,
)
from tools.demo.grafana import Grafana, GrafanaError, find_grafana
from tools.demo.live import Live
from tools.demo.past import Cast, Story
from tools.demo.screen import Screen
from tools.demo.serving import ServeError, Serving
from tools.demo.story import RECORDS_DATABASE, STEPS, Place, fill_disk, introduce, show, tell
from tools.demo.watching import Watching, prepared, scraped, sources_of
from tools.embedded import (
    HOST,
    EmbeddedInflux,
    InfluxdNotFoundError,
    InfluxdStartError,
    free_port,
)
from tools.postgresql import (
    OWNER,
    PASSWORD,
    PostgreSql,
    PostgreSqlError,
    postgresql,
    programs,
)
from tools.prometheus import PrometheusError
from tools.simulation.sending import PostError
from tools.watch.sources import AskError

_LOOK_S: Final = 0.5
_FLUSH_S: Final = 2
"""Live values are stored more often than by default: there is something to see at once."""


class DemoError(Exception):
    """The demo failed, and its processes are stopped; the text gives the reason."""


@dataclass(slots=True)
class _Stop:
    """The signal that stopped the demo, if any."""

    by: signal.Signals | None = None


Looker = Callable[[Place, Watching], Awaitable[None]]
"""Looks at a demo that is ready; it ends after that."""


async def demo(
    console: Console,
    *,
    servers: int,
    days: int,
    once: bool = False,
    story: Story = Story.HEALTHY,
    look: Looker | None = None,
) -> int:
    """Run the demo; once all is shown, it runs on until SIGINT, SIGTERM or SIGHUP.

    The simulated fleet has `servers` and reports for `days` (3 to MOST_DAYS). With `once`, the demo
    ends when all is shown; with `look`, when that has returned. Returns the exit code: 0, or 128
    plus the number of a signal that came before all was shown. Raises DemoError.
    """
    told = False
    screen = Screen(console, steps=STEPS)
    with _stopped_by_signals() as stop:
        try:
            async with AsyncExitStack() as stack:
                try:
                    place = await _begin(stack, screen, story)
                    cast = await asyncio.to_thread(
                        Cast.of, time.time_ns(), servers=servers, days=days, story=story
                    )
                    watching, live = await _told(stack, screen, place, cast)
                    firing = await _closed(stack, screen, place, watching, cast)
                    told = True
                    if look is not None:
                        await look(place, watching)
                    elif not once:
                        screen.say("Ctrl-C stops everything.", style="bold")
                        await _until_one_ends(place, tell_changes(screen, watching, live, firing))
                finally:
                    if stop.by is not None:
                        screen.say("\nStopping ...")
        except asyncio.CancelledError:
            if stop.by is None:
                raise
        except (
            aiohttp.ClientError,
            AskError,
            GrafanaError,
            InfluxError,
            InfluxdNotFoundError,
            InfluxdStartError,
            OSError,
            PostError,
            PostgreSqlError,
            PrometheusError,
            RecordsError,
            ServeError,
            StateError,
        ) as error:
            raise DemoError(str(error)) from error
    screen.say("All that was started has ended; its directory is removed.")
    return 0 if told or stop.by is None else 128 + stop.by


async def _begin(stack: AsyncExitStack, screen: Screen, story: Story) -> Place:
    """Start InfluxDB and the collector, in a directory that is removed with the stack."""
    directory = Path(stack.enter_context(TemporaryDirectory(prefix="collector-demo-")))
    # Work in other threads cannot be cancelled, and may still write into the directory.
    stack.push_async_callback(asyncio.get_running_loop().shutdown_default_executor)
    introduce(screen, directory, story)
    server = EmbeddedInflux(directory / "influxdb")
    asterisks = Asterisks(directory, trouble=story is Story.OUTAGE)
    await stack.enter_async_context(asterisks.listening())
    with screen.step("InfluxDB runs"):
        await stack.enter_async_context(server)
    records = _begin_records(stack, screen)
    # The settings of the environment are ignored: they may point to a real network's InfluxDB.
    settings = Settings.model_construct(
        listen=Address(HOST, free_port()),
        metrics_listen=Address(HOST, free_port()),
        influx_url=server.url,
        state_dir=directory / "state",
        statsd_listen=[asterisks.statsd],
        statsd_flush=_FLUSH_S,
        asterisk_file=str(asterisks.file),
        librenms=True,
        telemetrics=True,
        records_url=SecretStr("" if records is None else records.url(RECORDS_DATABASE)),
    )
    with screen.step("the collector runs"):
        serving = await stack.enter_async_context(Serving(settings, directory / "collector.log"))
    await stack.enter_async_context(asterisks.playing())
    influx = await stack.enter_async_context(parts.influx_of(settings))
    return Place(directory, settings, server, serving, influx, asterisks, records)


def _begin_records(stack: AsyncExitStack, screen: Screen) -> PostgreSql | None:
    """Start PostgreSQL for the records, where there is one; else they are in SQLite."""
    found = programs()
    if found is None:
        return None
    try:
        records = stack.enter_context(postgresql(found, PostgreSql))
    except PostgreSqlError as error:
        screen.detail(str(error).partition("\n")[0])
        return None
    records.run(f"CREATE DATABASE {RECORDS_DATABASE}")
    return records


async def _told(
    stack: AsyncExitStack, screen: Screen, place: Place, cast: Cast
) -> tuple[Watching, Live]:
    """Tell the story, start Prometheus, and let the senders send from then on."""
    started_s = time.time()
    laid = await tell(screen, place, cast)
    with screen.step("Prometheus runs, with a made-up past of the collector's metrics"):
        prometheus = await prepared(place, cast, laid, started_s)
        if prometheus is not None:
            await stack.enter_async_context(prometheus)
    await show(screen, place)
    if cast.story is Story.OUTAGE:
        await fill_disk(screen, place)
    live = Live(place.settings, place.influx, cast.fleet, cast.senders, cast.now_ns)
    sending = asyncio.create_task(live.run())

    async def end() -> None:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    stack.push_async_callback(end)
    return Watching(prometheus, sources_of(place, prometheus)), live


async def _closed(
    stack: AsyncExitStack, screen: Screen, place: Place, watching: Watching, cast: Cast
) -> list[str]:
    """Say where everything is, start the dashboards, and return the alerts that hold."""
    if watching.prometheus is not None:
        await scraped(watching.sources)
    say_where(screen, place, watching)
    await _show_dashboards(stack, screen, place, watching, len(cast.days))
    say_how_it_goes_on(screen, cast.story)
    return await say_alerts(screen, watching)


async def _show_dashboards(
    stack: AsyncExitStack, screen: Screen, place: Place, watching: Watching, days: int
) -> None:
    """Start both Grafanas, if Grafana is installed."""
    home = find_grafana()
    if home is None:
        say_no_grafana(screen, place)
        return
    records = place.records
    for kind in ("community", "ops"):
        grafana = Grafana(
            home=home,
            directory=place.directory / f"grafana-{kind}",
            kind=kind,
            project=Path(__file__).parents[2],
            influx_url=place.server.url,
            authorization="Token none-is-needed-here",
            site=place.base,
            days=days,
            hasty=True,
            environment={}
            if records is None
            else {
                "RECORDS_HOST": f"{HOST}:{records.port}",
                "RECORDS_DATABASE": RECORDS_DATABASE,
                "RECORDS_USER": OWNER,
                "RECORDS_PASSWORD": PASSWORD,
            },
            prometheus_url=watching.sources.prometheus_url or f"http://{HOST}:9090",
        )
        inner = ExitStack()
        starting = asyncio.ensure_future(asyncio.to_thread(inner.enter_context, grafana.running()))

        async def end(inner: ExitStack = inner, starting: asyncio.Future[str] = starting) -> None:
            # A start that runs in a thread cannot be cancelled, only awaited.
            await asyncio.gather(starting, return_exceptions=True)
            await asyncio.to_thread(inner.close)

        stack.push_async_callback(end)
        watching.grafanas[kind] = await asyncio.shield(starting)
        screen.say(f"  {kind} Grafana: {watching.grafanas[kind]}")


async def _until_one_ends(place: Place, telling: Coroutine[None, None, None]) -> None:
    """Wait without end; raise an error if the collector or InfluxDB ends by itself."""
    task = asyncio.create_task(telling)
    try:
        while place.serving.running:
            place.asterisks.check()
            if not place.server.running:
                raise InfluxdStartError(f"InfluxDB has ended. Its log:\n{place.server.log_tail()}")
            if task.done():
                task.result()
            await asyncio.sleep(_LOOK_S)
        raise place.serving.failed("has ended")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextmanager
def _stopped_by_signals() -> Iterator[_Stop]:
    """Cancel the calling task at the first signal to stop; ignore later ones."""
    stop = _Stop()
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def ask(number: signal.Signals) -> None:
        if stop.by is None and task is not None:
            stop.by = number
            task.cancel()

    for number in numbers:
        loop.add_signal_handler(number, ask, number)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
