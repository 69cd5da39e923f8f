"""The steps of the demo with a running collector, and their output."""

from __future__ import annotations

import asyncio
import resource
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import aiohttp

from collector.influx import Influx, Select, read
from collector.public.series import PublicSeries
from collector.schema import ASL_VERSION, LIVE, RAW, RELEASE, SERVER_REPORT
from collector.settings import Settings
from tools.demo.asterisks import ASTERISKS, Asterisks
from tools.demo.past import OUTAGE_NS, Cast, Laid, Story, count_days, lay_fleet, lay_others
from tools.demo.pictures import LIVE_COLUMNS, bars, beside, day_table, live_table, node_chart
from tools.demo.screen import Screen
from tools.demo.senders import post_install, post_record
from tools.demo.serving import Serving
from tools.embedded import EmbeddedInflux
from tools.postgresql import PostgreSql
from tools.simulation.sending import PostError, Reply, send

STEPS: Final = 7
MOST_DAYS: Final = 90
"""The default of raw retention: older days cannot be stored."""
_TABLE_DAYS: Final = 7
_ARRIVES_S: Final = 20.0
_LOOK_S: Final = 0.1
_OTHERS: Final = 3
SAMPLES: Final = Path(__file__).resolve().parents[2] / "tests" / "cases" / "asl"
_SAMPLE_WORDS: Final = {
    "readme-sample": "Raspberry Pi, one node",
    "multi-node-mixed": "PC, four nodes",
    "armv7l-raspbian": "older, 32-bit Pi",
    "ubuntu-release-dotted": "Ubuntu 24.04",
    "uptime-missing": "Asterisk does not answer",
}
"""Reports of the real client, by file name."""
RECORDS_DATABASE: Final = "records"


@dataclass(frozen=True, slots=True)
class Place:
    """The running processes of the demo and their addresses.

    `records` is the PostgreSQL of the records; None where they are in SQLite.
    """

    directory: Path
    settings: Settings
    server: EmbeddedInflux
    serving: Serving
    influx: Influx
    asterisks: Asterisks
    records: PostgreSql | None

    @property
    def base(self) -> str:
        """The URL of the collector's public address, without a trailing slash."""
        return f"http://{self.settings.listen}"

    @property
    def url(self) -> str:
        """The URL to which reports are posted."""
        return f"{self.base}/usage"


def introduce(screen: Screen, directory: Path, story: Story) -> None:
    """Print an introduction."""
    screen.say("Usage collector for AllStarLink: demo", style="bold")
    screen.say("All of it runs on this machine, and is gone when you stop it. The code is the")
    screen.say("real one; the servers that report are made up. Until then its data is in")
    screen.say(f"{directory}\n")
    if story is Story.OUTAGE:
        hours = OUTAGE_NS // (3600 * 10**9)
        screen.say(f"The story: for {hours} hours the collector's disk has been full. Reports were")
        screen.say("refused, and their clients do not come back before tomorrow.\n")


async def tell(screen: Screen, place: Place, cast: Cast) -> Laid:
    """Store what all senders sent up to now, compute the series, and show the published numbers.

    Raises InfluxError, PostError, RecordsError, ServeError.
    """
    begun_ns = time.time_ns()
    posted = 0
    if cast.story is Story.HEALTHY:
        posted = await _post_samples(screen, place)
    laid = await _lay_down(screen, place, cast)
    await _others(screen, place, cast, laid)
    await _arrived(place, since_ns=begun_ns, reports=posted)
    begun = time.monotonic()
    with screen.progress("counting days", len(cast.days)) as done:
        await count_days(cast, place.settings, place.influx, done=done)
    took_s = time.monotonic() - begun
    laid.roll_s = took_s / len(cast.days)
    screen.step_done(
        f"{len(cast.days)} days counted: each node once a day, by its last report", took_s
    )
    return laid


async def show(screen: Screen, place: Place) -> None:
    """Show the published numbers, and what the Asterisks do.

    Raises InfluxError, ServeError.
    """
    await _show(screen, place)
    await _show_live(screen, place)


async def fill_disk(screen: Screen, place: Place) -> None:
    """Let no file of the collector's grow any more, and show what it answers to reports.

    Raises PostError, ServeError.
    """
    _, most = resource.prlimit(place.serving.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(place.serving.pid, resource.RLIMIT_FSIZE, (0, most))
    async with aiohttp.ClientSession() as session:
        replies = [
            (words, await send(session, place.url, (SAMPLES / f"{name}.json").read_bytes()))
            for name, words in _SAMPLE_WORDS.items()
        ]
    screen.say("\nThe collector's disk is full now too: none of its files can grow.", style="bold")
    _show_replies(screen, replies)
    if all(reply.reason is None for _, reply in replies):
        raise place.serving.failed("takes reports although its files cannot grow")


async def _post_samples(screen: Screen, place: Place) -> int:
    """Post the real reports and show each reply; return the number accepted."""
    begun = time.monotonic()
    found = {SAMPLES / f"{name}.json": words for name, words in _SAMPLE_WORDS.items()}
    async with aiohttp.ClientSession() as session:
        replies = [
            (words, await send(session, place.url, path.read_bytes()))
            for path, words in found.items()
        ]
    screen.step_done(
        f"{len(found)} reports of the real client, posted over HTTP; the replies:",
        time.monotonic() - begun,
    )
    _show_replies(screen, replies)
    return sum(reply.reason is None for _, reply in replies)


def _show_replies(screen: Screen, replies: list[tuple[str, Reply]]) -> None:
    for words, reply in replies:
        screen.detail(f"{words:<26}{reply.status} {reply.text.strip()}")


async def _lay_down(screen: Screen, place: Place, cast: Cast) -> Laid:
    begun = time.monotonic()
    with screen.progress("days", len(cast.days)) as done:
        laid = await lay_fleet(cast, place.settings, place.influx, done=done)
    screen.step_done(
        f"{len(cast.days)} days of a made-up fleet up to now: {laid.reports.accepted:,} reports",
        time.monotonic() - begun,
    )
    screen.detail(f"through the same intake code; refused: {laid.reports.refusals}")
    return laid


async def _others(screen: Screen, place: Place, cast: Cast, laid: Laid) -> None:
    """Lay down what the other senders sent, and post a few more as their clients do."""
    begun = time.monotonic()
    await lay_others(cast, place.settings, place.influx, laid)
    screen.step_done(
        f"made-up LibreNMS and telemetrics-client: {laid.installs:,} reports,"
        f" {laid.records:,} records",
        time.monotonic() - begun,
    )
    if cast.story is Story.OUTAGE:
        return
    today = cast.senders.today
    try:
        async with aiohttp.ClientSession() as session:
            statuses = [
                await post_install(session, place.base, each.body)
                for each in cast.senders.installs.day(today)[:_OTHERS]
            ]
            statuses += [
                await post_record(
                    session,
                    place.base,
                    place.settings,
                    replace(each, received_ns=cast.now_ns + number),
                )
                for number, each in enumerate(cast.senders.machines.day(today)[:_OTHERS])
            ]
    except (aiohttp.ClientError, TimeoutError) as error:
        raise PostError(f"{place.base} does not answer ({type(error).__name__})") from error
    screen.detail(f"and {_OTHERS} of each over HTTP; the replies: {_counted(statuses)}")


def _counted(statuses: list[int]) -> str:
    return ", ".join(f"{statuses.count(each)} times {each}" for each in sorted(set(statuses)))


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
