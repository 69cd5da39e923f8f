"""What was acknowledged reaches InfluxDB once, whoever is killed on the way."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from collector.embedded import EmbeddedInflux
from tests.conftest import Databases, Serve, StartServe
from tests.sender import encoded, key_of, node_name, report

FIRST = 100_000
REPORTS = 5000
SENDERS = 40
KILLS = 20
SEED = 20_240_607


@dataclass
class Fleet:
    """Senders of reports of one node each, every one with a number of its own."""

    url: str
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(FIRST))
    acknowledged: set[int] = field(default_factory=set)
    answers: Counter[int] = field(default_factory=Counter)
    unanswered: set[int] = field(default_factory=set)

    async def send(self, session: aiohttp.ClientSession) -> None:
        """Send one report and never again, as the real client does."""
        number = next(self.numbers)
        try:
            async with session.post(f"{self.url}/usage", data=encoded(report([number]))) as answer:
                self.answers[answer.status] += 1
                if answer.status == 200:
                    self.acknowledged.add(number)
        except aiohttp.ClientError:
            self.unanswered.add(number)
            await asyncio.sleep(0.05)

    async def send_all(self, count: int) -> None:
        """Send so many reports, many at once."""
        left = itertools.repeat(None, count)

        async def sender(session: aiohttp.ClientSession) -> None:
            for _ in left:
                await self.send(session)

        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(sender(session) for _ in range(SENDERS)))

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send without end while the context lasts; what is under way is waited for."""
        ended = asyncio.Event()

        async def sender(session: aiohttp.ClientSession) -> None:
            while not ended.is_set():
                await self.send(session)
                await asyncio.sleep(0.02)

        async with aiohttp.ClientSession() as session:
            senders = [asyncio.ensure_future(sender(session)) for _ in range(SENDERS // 4)]
            try:
                yield
            finally:
                ended.set()
                await asyncio.gather(*senders)


def node_points(databases: Databases) -> Counter[str]:
    """How many points InfluxDB has of each node, by pseudonym."""
    rows = databases.server.query('SELECT "node" FROM "node_report"', databases.raw)
    return Counter(str(row["node"]) for row in rows)


async def delivered(databases: Databases, collector: Serve, numbers: set[int]) -> Counter[str]:
    """The points of each node once all of these numbers are there; fails after a minute."""
    key = key_of(collector.state_dir)
    wanted = {node_name(number, key) for number in numbers}
    found: Counter[str] = Counter()
    for _ in range(120):
        found = node_points(databases)
        if wanted <= found.keys():
            return found
        await asyncio.sleep(0.5)
    raise AssertionError(f"{len(wanted - found.keys())} acknowledged reports are missing")


def none_twice(points: Counter[str]) -> bool:
    return not points or max(points.values()) == 1


async def test_reports_acked_without_influxdb_and_before_kill_reach_it_once(
    own_influx: EmbeddedInflux, own_databases: Databases, serve: StartServe
) -> None:
    own_influx.terminate()
    collector = serve(own_databases.environment)
    fleet = Fleet(collector.url)
    await fleet.send_all(REPORTS)
    assert fleet.answers == {200: REPORTS}
    collector.kill()
    own_influx.start()
    restarted = serve(collector.environment)
    points = await delivered(own_databases, restarted, fleet.acknowledged)
    assert sum(points.values()) == len(points) == REPORTS
    servers = own_databases.server.count(own_databases.raw, "server_report", "nodes")
    assert servers == REPORTS


async def test_reports_acked_during_random_kills_are_all_there_once(
    databases: Databases, serve: StartServe
) -> None:
    chance = random.Random(SEED)
    collector = serve(databases.environment)
    fleet = Fleet(collector.url)
    async with fleet.sending():
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.05, 0.6))
            collector.kill()
            collector = await asyncio.to_thread(serve, collector.environment)
    points = await delivered(databases, collector, fleet.acknowledged)
    assert fleet.unanswered, "no kill hit a report under way"
    assert len(fleet.acknowledged) > 10 * KILLS
    assert fleet.answers.keys() == {200}
    assert none_twice(points)


async def test_reports_acked_while_influxdb_is_killed_are_all_there_once(
    own_influx: EmbeddedInflux, own_databases: Databases, serve: StartServe
) -> None:
    chance = random.Random(SEED)
    collector = serve(own_databases.environment)
    fleet = Fleet(collector.url)
    async with fleet.sending():
        for _ in range(3):
            await asyncio.sleep(chance.uniform(0.5, 1.5))
            own_influx.kill()
            await asyncio.sleep(chance.uniform(0.1, 0.5))
            own_influx.start()
    points = await delivered(own_databases, collector, fleet.acknowledged)
    assert fleet.answers.keys() == {200}
    assert none_twice(points)


async def test_reports_acked_before_an_orderly_stop_are_delivered_by_it(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment)
    fleet = Fleet(collector.url)
    async with fleet.sending():
        await asyncio.sleep(1.5)
        assert await asyncio.to_thread(collector.terminate) == 0
    key = key_of(collector.state_dir)
    acknowledged = {node_name(number, key) for number in fleet.acknowledged}
    assert acknowledged
    assert acknowledged <= node_points(databases).keys()
