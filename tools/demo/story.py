"""The steps of the demo with a running collector, and their output."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import aiohttp

from collector import parts
from collector.influx import Influx, Select, read
from collector.intakes.asl.tags import tag_budgets
from collector.public.series import PublicSeries
from collector.schema import ASL_VERSION, DAILY, LIVE, RAW, RELEASE, SERVER_REPORT
from collector.settings import Settings
from collector.state import ROLLUP_LOCK, SharedLock, pseudonym_key
from tools.demo.asterisks import ASTERISKS, Asterisks
from tools.demo.pictures import LIVE_COLUMNS, bars, beside, day_table, live_table, node_chart
from tools.demo.screen import Screen
from tools.demo.serving import Serving
from tools.embedded import EmbeddedInflux
from tools.simulation.fleet import Fleet
from tools.simulation.sending import Tally, converter_of_past, lay_down, post, send

STEPS: Final = 6
MOST_DAYS: Final = 90
"""The default of raw retention: older days cannot be stored."""
_SEED: Final = 1
_TABLE_DAYS: Final = 7
_ARRIVES_S: Final = 20.0
_LOOK_S: Final = 0.1
_PORT_THERE: Final = 9080
_SAMPLES: Final = Path(__file__).resolve().parents[2] / "tests" / "cases" / "asl"
_SAMPLE_WORDS: Final = {
    "readme-sample": "Raspberry Pi, one node",
    "multi-node-mixed": "PC, four nodes",
    "armv7l-raspbian": "older, 32-bit Pi",
    "ubuntu-release-dotted": "Ubuntu 24.04",
    "uptime-missing": "Asterisk does not answer",
}
"""Reports of the real client, by file name."""


@dataclass(frozen=True, slots=True)
class Place:
    """The running processes of the demo and their addresses."""

    directory: Path
    settings: Settings
    server: EmbeddedInflux
    serving: Serving
    influx: Influx
    asterisks: Asterisks

    @property
    def url(self) -> str:
        """The URL to which reports are posted."""
        return f"http://{self.settings.listen}/usage"


def introduce(screen: Screen, directory: Path) -> None:
    """Print an introduction."""
    screen.say("Usage collector for AllStarLink: demo", style="bold")
    screen.say("All of it runs on this machine, and is gone when you stop it. The code is the")
    screen.say("real one; the servers that report are made up. Until then its data is in")
    screen.say(f"{directory}\n")


async def tell(screen: Screen, place: Place, *, servers: int, days: int) -> None:
    """Store the reports of `days` up to now, compute the rollup, and show the published numbers.

    Raises InfluxError, PostError, ServeError.
    """
    today = datetime.now(UTC).date()
    dates = [today - timedelta(days=back) for back in reversed(range(days))]
    begun_ns = time.time_ns()
    posted = await _post_samples(screen, place)
    fleet = Fleet(seed=_SEED, servers=servers, start=dates[0], days=days)
    await _lay_down(screen, place, fleet, dates[:-1])
    posted += await _post_today(screen, place, fleet, today)
    await _arrived(place, since_ns=begun_ns, reports=posted)
    await _count(screen, place, dates)
    await _show(screen, place)
    await _show_live(screen, place)
    _say_where(screen, place)


async def _post_samples(screen: Screen, place: Place) -> int:
    """Post the real reports and show each reply; return the number accepted."""
    begun = time.monotonic()
    found = {_SAMPLES / f"{name}.json": words for name, words in _SAMPLE_WORDS.items()}
    async with aiohttp.ClientSession() as session:
        replies = [
            (words, await send(session, place.url, path.read_bytes()))
            for path, words in found.items()
        ]
    screen.step_done(
        f"{len(found)} reports of the real client, posted over HTTP; the replies:",
        time.monotonic() - begun,
    )
    for words, reply in replies:
        screen.detail(f"{words:<26}{reply.status} {reply.text.strip()}")
    return sum(reply.reason is None for _, reply in replies)


async def _lay_down(screen: Screen, place: Place, fleet: Fleet, days: list[date]) -> None:
    begun = time.monotonic()
    settings = place.settings
    converter = converter_of_past(
        pseudonym_key(settings.key_file, settings.state_dir),
        instance=settings.instance,
        budgets=tag_budgets(),
        memory_days=len(days),
    )
    with screen.progress("past days", len(days)) as done:
        tally = await lay_down(map(fleet.day, days), converter, place.influx, done=done)
    screen.step_done(
        f"{len(days)} past days of a made-up fleet: {tally.accepted:,} reports",
        time.monotonic() - begun,
    )
    screen.detail(f"through the same intake code; refused: {tally.refusals}")


async def _post_today(screen: Screen, place: Place, fleet: Fleet, today: date) -> int:
    """Post the fleet's reports of today up to now; return the number accepted."""
    begun = time.monotonic()
    due = [each for each in fleet.day(today) if each.received_ns <= time.time_ns()]
    with screen.progress("today's reports", len(due)) as done:
        tally: Tally = await post(due, place.url, rate=0, done=done)
    screen.step_done(
        f"today's reports so far, posted over HTTP: {tally.accepted:,} accepted",
        time.monotonic() - begun,
    )
    if tally.refused:
        screen.detail(f"refused: {tally.refusals}")
    return tally.accepted


async def _arrived(place: Place, *, since_ns: int, reports: int) -> None:
    """Wait until the collector has delivered the accepted reports."""
    count = Select(RAW, SERVER_REPORT.name, ["count(server)"], f"time >= {since_ns}")
    deadline = time.monotonic() + _ARRIVES_S
    while time.monotonic() < deadline:
        found = await read(place.influx, count)
        if reports == 0 or (found and found[0].values[0][1] >= reports):
            return
        await asyncio.sleep(_LOOK_S)
    raise place.serving.failed("does not deliver to InfluxDB")


async def _count(screen: Screen, place: Place, days: list[date]) -> None:
    begun = time.monotonic()
    daily = parts.daily_of(place.settings, place.influx)
    # Each quarter of an hour the collector computes days too, with the same cache.
    lock = SharedLock(place.settings.state_dir / ROLLUP_LOCK)
    with screen.progress("counting days", len(days)) as done:
        for day in days:
            async with lock:
                await daily.roll(day, datetime.now(UTC))
            done()
    screen.step_done(
        f"{len(days)} days counted: each node once a day, by its last report",
        time.monotonic() - begun,
    )


async def _show(screen: Screen, place: Place) -> None:
    series = await PublicSeries(place.influx).snapshot()
    screen.say(f"\nThe last {_TABLE_DAYS} days, as everybody may see them", style="bold")
    screen.show(day_table(series.days[-_TABLE_DAYS:]))
    screen.say("nodes: heard in the day; new: not heard in the 30 days before it", style="dim")
    # The open day is low only because it is not over.
    whole = [day for day in series.days if day.final]
    screen.say(f"\nNodes in the last {len(whole)} whole days", style="bold")
    screen.show(node_chart(whole, ascii_only=screen.ascii_only))
    day = series.tables_day
    screen.say(
        f"\nWhat the nodes ran on {day.day if day else 'no day'}: nodes and share", style="bold"
    )
    drawn = {
        title: bars(series.tables.get(dimension.name, {}), ascii_only=screen.ascii_only)
        for title, dimension in (("AllStarLink", ASL_VERSION), ("distribution", RELEASE))
    }
    screen.show(beside(drawn))
    k = place.settings.k_anonymity
    screen.say(f"A count under {k} is never shown: it goes into `other`.", style="dim")


async def _show_live(screen: Screen, place: Place) -> None:
    """Show what the replayed Asterisks do now."""
    found: dict[str, dict[str, float]] = {one.name: {} for one in ASTERISKS}
    deadline = time.monotonic() + _ARRIVES_S
    while not all(found.values()):
        if time.monotonic() > deadline:
            raise place.serving.failed("stores nothing of the Asterisks")
        await asyncio.sleep(_LOOK_S)
        for column, statement in LIVE_COLUMNS.items():
            for series in await place.influx.query(LIVE, statement):
                values = [value for *_, value in series.values if value is not None]
                if values and (asterisk := series.tags["asterisk"]) in found:
                    found[asterisk][column] = sum(values)
    screen.say("\nWhat replayed Asterisks do now, as operators see it", style="bold")
    screen.show(live_table(found))
    screen.say("recordings of a real one, again and again, by StatsD and AMI", style="dim")


def _say_where(screen: Screen, place: Place) -> None:
    settings = place.settings
    public = f"http://{settings.listen}"
    addresses = {
        "post reports to": place.url,
        "pages": f"{public}/",
        "daily numbers": f"{public}/reports/daily",
        "summary": f"{public}/reports/basic",
        "metrics": f"http://{settings.metrics_listen}/metrics",
        "InfluxDB": f"{place.server.url}  (databases {RAW}, {DAILY}, {LIVE})",
        "log": str(place.serving.log),
    }
    screen.say(f"\nReady after {screen.seconds:.0f} s. Running now, for this machine only:\n")
    for name, address in addresses.items():
        screen.say(f"  {name:<17}{address}")
    sample = _from_here(_SAMPLES / "readme-sample.json")
    screen.say("\nPost a report yourself:\n", style="bold")
    screen.say(f"  curl -d @{sample} {place.url}")
    screen.say("\nLet a real AllStarLink node that you reach by ssh report to it:\n", style="bold")
    screen.say(
        f"  ssh -R {_PORT_THERE}:{settings.listen} NODE"
        f" asl-telemetry -u http://127.0.0.1:{_PORT_THERE}/usage"
    )
    screen.say("\nWhat comes in now is counted at the next quarter of an hour.")


def _from_here(path: Path) -> Path:
    """The shorter of a path and the same path relative to the current directory."""
    return min(path, Path(os.path.relpath(path)), key=lambda each: len(str(each)))
