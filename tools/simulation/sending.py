"""Sends simulated reports: past days directly to InfluxDB, those of a day over HTTP.

Reports of past days pass the same intake code as live ones, with the time of each submission as
the clock. Storing the same fleet again with the same key overwrites the same points.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from http import HTTPStatus
from typing import Final

import aiohttp

from collector.influx import Influx, Select, read
from collector.influx.writing import write_all
from collector.intakes.asl.points import ReportConverter
from collector.lines import Stamper
from collector.metrics import Metrics
from collector.privacy import Pseudonymiser
from collector.problems import Refusal
from collector.schema import NODE_REPORT, RAW, SERVER_REPORT
from collector.tag_budget import TagBudget
from tools.simulation.fleet import Submission

_BATCH: Final = 1500
"""Points in one write: under 1 MiB, over which aiohttp warns of a body that is held whole."""
_IN_FLIGHT: Final = 8
"""Concurrent requests: enough to keep a collector busy, too few to overload it."""
_POST_S: Final = 30
_SECONDS_PER_DAY: Final = 86_400
_HEADERS: Final = {"Content-Type": "application/json"}


class NotEmptyError(Exception):
    """The database for simulated reports is not empty; the text gives the remedy."""


class PostError(Exception):
    """The collector does not answer; the text names its URL."""


@dataclass(slots=True)
class Tally:
    """Counts of accepted submissions, their points, and refused submissions by reason."""

    accepted: int = 0
    points: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def refusals(self) -> str:
        """The refusals as text, such as `12 no-public-nodes, 1 rate-limited`, or `none`."""
        return ", ".join(f"{n:,} {why}" for why, n in sorted(self.refused.items())) or "none"


@dataclass(frozen=True, slots=True)
class Reply:
    """A collector's reply to a report."""

    status: int
    text: str

    @property
    def reason(self) -> str | None:
        """The one-word reason of a refusal; None if the report was accepted."""
        if self.status == HTTPStatus.OK:
            return None
        try:
            return str(json.loads(self.text)["reason"])
        except (ValueError, KeyError, TypeError):
            # Another server, or a proxy in front of the collector.
            return f"http-{self.status}"


class EveryNode:
    """A node list with every number, since the public one has no simulated nodes."""

    def lists(self, node: int) -> bool:
        """Return True."""
        return True


def converter_of_past(
    key: bytes,
    *,
    instance: int,
    budgets: Mapping[str, int],
    memory_days: int,
    metrics: Metrics | None = None,
) -> ReportConverter:
    """Build the intake's converter for past days; every node number counts as public.

    It counts in `metrics`, if given.
    """
    return ReportConverter(
        pseudonyms=Pseudonymiser(key),
        stamper=Stamper(instance=instance),
        budget=TagBudget(budgets, memory_days=memory_days),
        nodelist=EveryNode(),
        metrics=metrics or Metrics(),
    )


def days_kept(days: Iterable[date], *, today: date, retention_s: int) -> list[date]:
    """Select the days before `today` that are entirely within raw retention."""
    first = today - timedelta(days=retention_s // _SECONDS_PER_DAY - 1)
    return [day for day in days if first <= day < today]


async def refuse_if_not_empty(influx: Influx) -> None:
    """Raise NotEmptyError if there are raw reports, InfluxError if InfluxDB fails."""
    for measurement in (SERVER_REPORT, NODE_REPORT):
        if await read(influx, Select(RAW, measurement.name, ["*"], more="LIMIT 1")):
            raise NotEmptyError(
                f"{influx.name(RAW)} at {influx.url} holds reports already, perhaps of a real"
                " network: made-up ones could never be told from them again. Choose an empty"
                " InfluxDB or another COLLECTOR_INFLUX_PREFIX; --force lays them down all the same"
            )


async def lay_down(
    days: Iterable[Iterable[Submission]],
    converter: ReportConverter,
    influx: Influx,
    *,
    done: Callable[[], object],
) -> Tally:
    """Store the reports of these days; `done` is called after each day, in another thread.

    Raises InfluxError if InfluxDB does not store all of them.
    """
    tally = Tally()
    batches = _batches(days, converter, tally, done)
    batch = await asyncio.to_thread(next, batches, b"")
    while batch:
        # A batch is converted while InfluxDB stores the one before.
        _, batch = await asyncio.gather(
            write_all(influx, RAW, "the past days", [batch]), asyncio.to_thread(next, batches, b"")
        )
    return tally


def _batches(
    days: Iterable[Iterable[Submission]],
    converter: ReportConverter,
    tally: Tally,
    done: Callable[[], object],
) -> Iterator[bytes]:
    reports: list[bytes] = []
    points = 0
    for submissions in days:
        for each in submissions:
            outcome = converter.of(each.body, each.received_ns)
            if isinstance(outcome, Refusal):
                tally.refused[outcome.reason.value] += 1
                continue
            entry = outcome.entry
            if points + entry.points > _BATCH:
                yield b"\n".join(reports)
                reports, points = [], 0
            reports.append(entry.lines)
            points += entry.points
            tally.accepted += 1
            tally.points += entry.points
        done()
    if reports:
        yield b"\n".join(reports)


async def send(session: aiohttp.ClientSession, url: str, body: bytes) -> Reply:
    """Post a report like the client. Raises PostError if there is no reply."""
    try:
        async with session.post(
            url,
            data=body,
            headers=_HEADERS,
            timeout=aiohttp.ClientTimeout(total=_POST_S),
            allow_redirects=False,
        ) as response:
            return Reply(response.status, await response.text(errors="replace"))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        # ValueError: a URL that aiohttp cannot read.
        raise PostError(f"{url} does not answer ({type(error).__name__})") from error


async def post(
    submissions: Sequence[Submission], url: str, *, rate: float, done: Callable[[], object]
) -> Tally:
    """Post these reports in order, at most `rate` a second (0: as fast as replies come).

    Like the client, it never retries. `done` is called after each report. Raises PostError.
    """
    tally = Tally()
    waiting = iter(enumerate(submissions))
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def sender() -> None:
        for number, each in waiting:
            if rate:
                await asyncio.sleep(max(0.0, begun + number / rate - loop.time()))
            reason = (await send(session, url, each.body)).reason
            if reason is None:
                tally.accepted += 1
            else:
                tally.refused[reason] += 1
            done()

    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        try:
            async with asyncio.TaskGroup() as senders:
                for _ in range(_IN_FLIGHT):
                    senders.create_task(sender())
        except* PostError as errors:
            first = errors.exceptions[0]
            raise PostError(
                f"{first}; {tally.accepted:,} reports were accepted before that"
            ) from first
    return tally
