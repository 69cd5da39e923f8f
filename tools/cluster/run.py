"""Runs the demo of a cluster: starts it, breaks it while reports come in, and settles up."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

import aiohttp
from rich.console import Console

from collector.influx import InfluxError
from collector.privacy import Pseudonymiser
from tools.cluster.counts import Counter, session
from tools.cluster.faults import Faults
from tools.cluster.members import MemberError
from tools.cluster.plant import PAST_DAYS, Plant, running
from tools.cluster.screen import Screen
from tools.cluster.senders import Senders
from tools.embedded import InfluxdNotFoundError, InfluxdStartError, start_child
from tools.nats import NatsStartError

_TICK_S: Final = 2.0
_PATIENCE_S: Final = 600.0
_ERRORS: Final = (
    aiohttp.ClientError,
    InfluxError,
    InfluxdNotFoundError,
    InfluxdStartError,
    LookupError,
    MemberError,
    NatsStartError,
    OSError,
)
"""Errors of servers that do not start or do not answer; TimeoutError is one of OSError."""


class DemoError(Exception):
    """The demo failed, and its processes are stopped; the text gives the reason."""


@dataclass(frozen=True)
class Options:
    """How the demo runs: for `seconds` or `kills` (0: no end), one fault every `every_s`."""

    seconds: float = 0.0
    kills: int = 0
    every_s: float = 10.0
    away_s: float = 4.0
    rate: float = 40.0
    lease_s: int = 10
    seed: int = 1


async def demo(console: Console, options: Options) -> int:
    """Run the demo; return the exit code: 0 if nothing was lost or doubled.

    SIGINT ends the faults and the senders, and what is under way arrives first. A second one,
    SIGTERM and SIGHUP end the demo at once. Raises DemoError.
    """
    screen = Screen(console)
    with _signals() as told:
        try:
            async with AsyncExitStack() as stack:
                directory = Path(stack.enter_context(TemporaryDirectory(prefix="cluster-demo-")))
                # Work in other threads may still write into the directory.
                stack.push_async_callback(asyncio.get_running_loop().shutdown_default_executor)
                _introduce(screen, directory, options)
                plant = await stack.enter_async_context(
                    running(directory, lease_s=options.lease_s, say=screen.say)
                )
                return await _shown(screen, plant, options, told)
        except asyncio.CancelledError:
            if told.by is None:
                raise
            return 128 + told.by
        except _ERRORS as error:
            raise DemoError(str(error) or type(error).__name__) from error
        finally:
            screen.plain("All that was started has ended; its directory is removed.")


def _introduce(screen: Screen, directory: Path, options: Options) -> None:
    screen.plain("A cluster on this machine: two receivers behind a balancer, three NATS servers,")
    screen.plain("two writers, a publisher and its standby, an InfluxDB for raw data and one for")
    screen.plain("the published series.")
    screen.plain(f"Data and logs are in {directory} until the end.")
    screen.plain(
        f"Every {options.every_s:.0f} s a process is killed (or stopped and continued), and started"
        f" again {options.away_s:.0f} s later."
    )


async def _shown(screen: Screen, plant: Plant, options: Options, told: _Told) -> int:
    senders = Senders(f"{plant.balancer.url}/usage", Pseudonymiser(plant.key), options.rate)
    faults = Faults(plant, screen.say, Random(options.seed), options.every_s, options.away_s)  # noqa: S311
    screen.plain(
        f"\n{options.rate:.0f} senders a second report once each to {senders.url}, and never again."
        " Pages and downloads"
    )
    screen.plain(f"are at {plant.balancer.url}/ . Ctrl-C stops the senders and settles up.\n")
    async with session() as client:
        counter = Counter(plant, senders, client)
        try:
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(senders.run())
                watching = tasks.create_task(faults.watch())
                ticking = tasks.create_task(_tick(screen, counter))
                await _broken(faults, options, told)
                screen.say("the senders stop; what is under way arrives")
                senders.stop()
                await sending
                ticking.cancel()
                complete = await _completed(screen, plant, counter)
                watching.cancel()
        except* _ERRORS as group:
            raise DemoError(str(group.exceptions[0])) from group
        return await _settled(screen, senders, counter, faults.done, complete=complete)


async def _broken(faults: Faults, options: Options, told: _Told) -> None:
    """Break members until there were enough faults, the time is up, or somebody says so."""
    tasks = [
        asyncio.create_task(told.once.wait()),
        asyncio.create_task(faults.run(options.kills)),
    ]
    try:
        await asyncio.wait(
            tasks, timeout=options.seconds or None, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
    await faults.mended()


async def _tick(screen: Screen, counter: Counter) -> None:
    """Print the counts every few seconds, for ever."""
    while True:
        screen.row(await counter.counts())
        await asyncio.sleep(_TICK_S)


async def _completed(screen: Screen, plant: Plant, counter: Counter) -> bool:
    """Wait until all has arrived and is published; tell whether that was reached in time.

    A report without an answer may still arrive later, and today is computed again then.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while await _arrived(screen, counter, deadline):
        screen.say("today is computed once more, by a command beside a publisher")
        if not await _roll_today(screen, plant, counter.begun):
            return False
        _, reports = await counter.published()
        if reports == len(await counter.all_stored()):
            return True
    return False


async def _arrived(screen: Screen, counter: Counter, deadline: float) -> bool:
    """Print the counts until nothing is under way; tell whether that was reached in time."""
    while time.monotonic() < deadline:
        found = await counter.counts()
        screen.row(found)
        if found.is_settled:
            return True
        await asyncio.sleep(_TICK_S)
    return False


async def _settled(
    screen: Screen, senders: Senders, counter: Counter, done: int, *, complete: bool
) -> int:
    """Compare the replies with InfluxDB's points one by one; return the exit code."""
    points = await counter.all_stored()
    stored = set(points)
    acknowledged = senders.acknowledged.keys()
    lost = len(acknowledged - stored)
    doubled = len(points) - len(stored)
    days, reports = await counter.published()
    good = complete and not lost and not doubled and reports == len(stored)
    style = "bold green" if good else "bold red"
    screen.plain()
    screen.plain(
        f"After {done} faults: acknowledged {len(acknowledged):,}"
        f" {'IS NOT' if lost else '='} stored {len(acknowledged & stored):,}."
        f" Lost {lost:,}, doubled {doubled:,}.",
        style=style,
    )
    cut_off = senders.refused | senders.unanswered
    screen.plain(
        f"No answer, or an error, as what they spoke with was killed: {len(cut_off):,} senders;"
        f" stored all the same: {len(cut_off & stored):,}."
    )
    screen.plain(
        f"Published: {days} of {PAST_DAYS + 1} days by now; today counts {reports:,} reports of the"
        f" {len(stored):,} stored."
    )
    if not complete:
        screen.plain("Not all that was under way arrived in time.", style=style)
    return 0 if good else 1


async def _roll_today(screen: Screen, plant: Plant, begun: date) -> bool:
    """Run `collector rollup` beside a publisher, where it waits for its turn; tell if it worked.

    It is run again if it fails: it gives up where the machine stands still for longer than a lease.
    """
    publisher = next(iter(plant.publishers.values()))
    log = publisher.directory / "rollup.log"
    command = (sys.executable, "-m", "collector", "rollup", "--from", begun.isoformat())
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        process = start_child(
            [*command, "--to", "today"], log=log, environment=publisher.environment
        )
        try:
            if await asyncio.to_thread(process.wait, _PATIENCE_S) == 0:
                return True
        except subprocess.TimeoutExpired:
            break
        finally:
            process.kill()
            process.wait()
        await asyncio.sleep(_TICK_S)
    screen.plain(f"`collector rollup` failed: {log.read_text(errors='replace').strip()}")
    return False


@dataclass
class _Told:
    """The signals that came: `once` at a first SIGINT, `by` is one that ends the demo at once."""

    once: asyncio.Event
    by: signal.Signals | None = None


@contextlib.contextmanager
def _signals() -> Iterator[_Told]:
    told = _Told(asyncio.Event())
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def hear(number: signal.Signals) -> None:
        if number is signal.SIGINT and not told.once.is_set():
            told.once.set()
        elif told.by is None and task is not None:
            told.by = number
            task.cancel()

    for number in numbers:
        loop.add_signal_handler(number, hear, number)
    try:
        yield told
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
