"""Runs the demo: starts its processes, waits, stops them and removes their data in any case."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console

from collector import parts
from collector.influx import InfluxError
from collector.setting_types import Address
from collector.settings import Settings
from collector.state import StateError
from tools.demo.asterisks import Asterisks
from tools.demo.grafana import HOME_VARIABLE, Grafana, GrafanaError, find_grafana
from tools.demo.screen import Screen
from tools.demo.serving import ServeError, Serving
from tools.demo.story import STEPS, Place, introduce, tell
from tools.embedded import (
    HOST,
    EmbeddedInflux,
    InfluxdNotFoundError,
    InfluxdStartError,
    free_port,
)
from tools.simulation.sending import PostError

_LOOK_S: Final = 0.5
_FLUSH_S: Final = 2
"""Live values are stored more often than by default: there is something to see at once."""


class DemoError(Exception):
    """The demo failed, and its processes are stopped; the text gives the reason."""


@dataclass(slots=True)
class _Stop:
    """The signal that stopped the demo, if any."""

    by: signal.Signals | None = None


async def demo(console: Console, *, servers: int, days: int, once: bool) -> int:
    """Run the demo; once all is shown, the collector runs on until SIGINT, SIGTERM or SIGHUP.

    The simulated fleet has `servers` and reports for `days` (3 to MOST_DAYS). With `once`, the demo
    ends when all is shown. Returns the exit code: 0, or 128 plus the number of a signal that came
    before all was shown. Raises DemoError.
    """
    told = False
    screen = Screen(console, steps=STEPS)
    with _stopped_by_signals() as stop:
        try:
            async with AsyncExitStack() as stack:
                try:
                    place = await _begin(stack, screen)
                    await tell(screen, place, servers=servers, days=days)
                    await _show_dashboards(stack, screen, place, days)
                    told = True
                    if not once:
                        screen.say("Ctrl-C stops everything.", style="bold")
                        await _until_one_ends(place)
                finally:
                    if stop.by is not None:
                        screen.say("\nStopping ...")
        except asyncio.CancelledError:
            if stop.by is None:
                raise
        except (
            GrafanaError,
            InfluxError,
            InfluxdNotFoundError,
            InfluxdStartError,
            OSError,
            PostError,
            ServeError,
            StateError,
        ) as error:
            raise DemoError(str(error)) from error
    screen.say("All that was started has ended; its directory is removed.")
    return 0 if told or stop.by is None else 128 + stop.by


async def _begin(stack: AsyncExitStack, screen: Screen) -> Place:
    """Start InfluxDB and the collector, in a directory that is removed with the stack."""
    directory = Path(stack.enter_context(TemporaryDirectory(prefix="collector-demo-")))
    # Work in other threads cannot be cancelled, and may still write into the directory.
    stack.push_async_callback(asyncio.get_running_loop().shutdown_default_executor)
    introduce(screen, directory)
    server = EmbeddedInflux(directory / "influxdb")
    asterisks = Asterisks(directory)
    await stack.enter_async_context(asterisks.listening())
    # The settings of the environment are ignored: they may point to a real network's InfluxDB.
    settings = Settings.model_construct(
        listen=Address(HOST, free_port()),
        metrics_listen=Address(HOST, free_port()),
        influx_url=server.url,
        state_dir=directory / "state",
        statsd_listen=[asterisks.statsd],
        statsd_flush=_FLUSH_S,
        asterisk_file=str(asterisks.file),
    )
    with screen.step("InfluxDB runs"):
        await stack.enter_async_context(server)
    with screen.step("the collector runs"):
        serving = await stack.enter_async_context(Serving(settings, directory / "collector.log"))
    await stack.enter_async_context(asterisks.playing())
    influx = await stack.enter_async_context(parts.influx_of(settings))
    return Place(directory, settings, server, serving, influx, asterisks)


async def _show_dashboards(stack: AsyncExitStack, screen: Screen, place: Place, days: int) -> None:
    """Start both Grafanas, if Grafana is installed."""
    home = find_grafana()
    if home is None:
        screen.say(f"No Grafana was found on PATH or in {HOME_VARIABLE}: no dashboards are shown.")
        return
    for kind in ("community", "ops"):
        grafana = Grafana(
            home=home,
            directory=place.directory / f"grafana-{kind}",
            kind=kind,
            project=Path(__file__).parents[2],
            influx_url=place.server.url,
            authorization="Token none-is-needed-here",
            site=f"http://{place.settings.listen}",
            days=days,
        )
        inner = ExitStack()
        starting = asyncio.ensure_future(asyncio.to_thread(inner.enter_context, grafana.running()))

        async def end(inner: ExitStack = inner, starting: asyncio.Future[str] = starting) -> None:
            # A start that runs in a thread cannot be cancelled, only awaited.
            await asyncio.gather(starting, return_exceptions=True)
            await asyncio.to_thread(inner.close)

        stack.push_async_callback(end)
        screen.say(f"  {kind} Grafana: {await asyncio.shield(starting)}")


async def _until_one_ends(place: Place) -> None:
    """Wait without end; raise an error if the collector or InfluxDB ends by itself."""
    while place.serving.running:
        place.asterisks.check()
        if not place.server.running:
            raise InfluxdStartError(f"InfluxDB has ended. Its log:\n{place.server.log_tail()}")
        await asyncio.sleep(_LOOK_S)
    raise place.serving.failed("has ended")


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
