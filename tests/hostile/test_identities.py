"""Reports under other people's names, and many people behind one address."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest

from tests.conftest import Databases, Serve, StartServe
from tests.hostile.watch import settle, watching
from tests.hostile.wire import source
from tests.length import repeat
from tests.sender import encoded, eventually, metric, post, report

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

LIST = [2000 + n for n in range(1000)]


def erasures(url: str, outcome: str) -> float:
    return metric(url, "collector_erasures_total", outcome=outcome)


def erase(collector: Serve, server: str, from_: int) -> int:
    """Ask for a server's erasure with its UUID alone; the answer's status."""
    body = encoded(report([9999], server))
    return post(collector.url, body, path="/v1/my-data/erase", source=source(from_)).status


def test_claims_of_1000_nodes_of_others_are_counted_as_suspicious(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment)
    for start in range(0, 1000, 10):
        assert post(collector.url, encoded(report(LIST[start : start + 10]))).status == 200
    claimed = {"kind": "node-claimed-twice"}
    assert metric(collector.metrics_url, "collector_suspicions_total", **claimed) == 0
    outcomes: Counter[int] = Counter()
    with watching(collector, databases) as watch:
        outcomes[post(collector.url, encoded(report(LIST))).status] += 1
        for half in (LIST[:500], LIST[500:]):
            outcomes[post(collector.url, encoded(report(half))).status] += 1
    assert outcomes == {400: 1, 200: 2}
    assert metric(collector.metrics_url, "collector_suspicions_total", **claimed) == 1000
    settle(watch, "one sender claims 1 000 nodes of others", outcomes)


def test_mass_erasure_with_uuids_from_a_list_is_held_by_the_brake(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment | {"COLLECTOR_ERASURES_PER_HOUR": "3"})
    victims = [str(uuid.uuid4()) for _ in range(repeat(9, 60))]
    for n, one in enumerate(victims):
        assert post(collector.url, encoded(report([5000 + n], one))).status == 200
    server = databases.server
    eventually(lambda: server.count(databases.raw, "node_report", "node") >= len(victims))
    outcomes: Counter[int] = Counter()
    with watching(collector, databases) as watch:
        # From an address each: the limit of one address would end it sooner.
        for n, one in enumerate(victims):
            outcomes[erase(collector, one, n)] += 1
        with ThreadPoolExecutor(12) as at_once:
            single = list(
                at_once.map(lambda _: erase(collector, str(uuid.uuid4()), 9_999), range(12))
            )
    assert set(outcomes) <= {200, 202}
    assert erasures(collector.metrics_url, "done") <= 3
    assert erasures(collector.metrics_url, "queued") >= len(victims) - 3
    assert single.count(429) == 2
    settle(watch, "mass erasure with UUIDs from a list", outcomes + Counter(single), posts=False)
    # What was not erased is there; what was queued, an operator lets go or drops.
    left = server.count(databases.raw, "node_report", "node") - len(watch.acknowledged)
    assert left >= len(victims) - 3


async def test_replayed_bodies_are_limited_and_count_a_node_once(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment | {"COLLECTOR_SERVER_RATE_LIMIT": "50"})
    body = encoded(report([6001]))
    with watching(collector, databases) as watch:
        answers = await asyncio.to_thread(lambda: [post(collector.url, body) for _ in range(300)])
    outcomes = Counter(one.status for one in answers)
    assert outcomes[200] in range(50, 60)
    assert outcomes[429] == 300 - outcomes[200]
    assert answers[-1].reason == "rate-limited"
    assert "Retry-After".lower() in answers[-1].headers
    await asyncio.to_thread(settle, watch, "a body replayed", outcomes)


async def test_10000_senders_behind_one_address_all_pass(
    databases: Databases, serve: StartServe
) -> None:
    """The short form has 1 500."""
    collector = serve(databases.environment)
    wanted, numbers = repeat(1_500, 10_000), iter(range(repeat(1_500, 10_000)))
    outcomes: Counter[int] = Counter()

    async def senders(connector: aiohttp.TCPConnector) -> None:
        async with aiohttp.ClientSession(connector=connector) as session:
            for n in numbers:
                async with session.post(
                    f"{collector.url}/usage", data=encoded(report([7_000_000 + n]))
                ) as answer:
                    await answer.read()
                    outcomes[answer.status] += 1

    with watching(collector, databases) as watch:
        # Each has a connection of its own, as each node behind a NAT has.
        await asyncio.gather(
            *(senders(aiohttp.TCPConnector(force_close=True)) for _ in range(repeat(50, 200)))
        )
    assert outcomes == {200: wanted}
    attack = f"{wanted:,} honest senders behind one address".replace(",", " ")
    await asyncio.to_thread(settle, watch, attack, outcomes)
