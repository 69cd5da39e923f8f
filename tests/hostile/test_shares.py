"""Readers and senders keep out neither each other nor whoever has just spoken."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.busy import measured
from tests.conftest import Databases, Serve, StartServe
from tests.faulty import FaultyProxy, hanging
from tests.hostile.watch import settle, watching
from tests.hostile.wire import Wire, exchange, head, many, posted, source, split
from tests.length import repeat
from tests.sender import GUARD_S, encoded, metric, report, until

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

BODY = posted(encoded(report([2001])))
PROXY = "127.0.0.50"
ANSWER_S = 5.0


async def spoken(wire: Wire) -> int:
    """The status of a report on a connection that is open."""
    assert await wire.send(BODY)
    async with asyncio.timeout(GUARD_S):
        received = await wire.reader.readuntil(b"}\n")
    return split(received)[0].status


async def test_keep_alive_connection_that_has_just_spoken_is_not_cut_for_another(
    databases: Databases, serve: StartServe
) -> None:
    most = 40
    collector = serve(
        databases.environment
        | {
            "COLLECTOR_MAX_CONNECTIONS": str(most),
            "COLLECTOR_READ_TIMEOUT": "60s",
            "COLLECTOR_TRUSTED_PROXIES": PROXY,
        }
    )
    async with many(collector.url, [PROXY, source(1)]) as (proxy, sender):
        assert [await spoken(proxy), await spoken(sender)] == [200, 200]
        async with many(collector.url, (source(n) for n in range(2, most))) as idle:
            await asyncio.sleep(0.4)
            assert await spoken(sender) == 200
            await asyncio.sleep(0.4)
            # Each makes one of the idle ones go, though both of the others are older.
            for number in range(most - 2):
                idle.append(await Wire.open(collector.url, source=source(100 + number)))
            for wire in (proxy, sender):
                assert await spoken(wire) == 200
            # Now the sender has been silent for longest of all but the proxy, which goes last.
            await asyncio.sleep(0.4)
            for number in range(most - 1):
                idle.append(await Wire.open(collector.url, source=source(200 + number)))
            assert await spoken(proxy) == 200
            assert await sender.rest() == b""


def refused(collector: Serve) -> float:
    reason = {"reason": "too-many-connections"}
    return metric(collector.metrics_url, "collector_http_refusals_total", **reason)


async def test_3000_readers_of_a_database_that_hangs_keep_no_sender_out(
    databases: Databases, serve: StartServe
) -> None:
    readers = 3000
    async with FaultyProxy(databases.server.url).open() as proxy:
        settings = {"COLLECTOR_INFLUX_URL": proxy.url, "COLLECTOR_RATE_LIMIT": "0"}
        collector = serve(databases.environment | settings)
        await until(lambda: proxy.met["queries"] > 0)
        proxy.query_fault = hanging
        asked = head(method="GET", path="/v1/daily/nodes.csv")
        with watching(collector, databases) as watch:
            async with many(collector.url, []) as wires:
                while len(wires) < readers:
                    wires.append(await Wire.open(collector.url, source=source(len(wires) // 50)))
                    await wires[-1].send(asked)
                answers = [await wire.reader.read(1 << 16) for wire in wires]
        proxy.query_fault = None
        statuses = Counter(split(answer)[0].status if answer else 0 for answer in answers)
        assert statuses == {503: readers}
        assert watch.slowest_s < ANSWER_S
        attack = f"{readers:,} readers of a database that hangs".replace(",", " ")
        # The way to InfluxDB is in this loop.
        await asyncio.to_thread(settle, watch, attack, statuses, posts=False)


async def test_3000_slow_senders_keep_no_reader_out(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment | {"COLLECTOR_READ_TIMEOUT": "60s"})
    begun_body = head(length=1000) + b"{"
    page = head("Connection: close", method="GET", path="/privacy")
    slowest, statuses = 0.0, Counter[int]()
    async with many(collector.url, []) as wires:
        for number in range(repeat(3000, 6000)):
            wires.append(await Wire.open(collector.url, source=source(number // 50)))
            await wires[-1].send(begun_body)
            if number % 100 == 0:
                with measured(collector.process.pid) as spent:
                    (answer,) = await exchange(collector.url, page)
                slowest = max(slowest, spent.own_s)
                statuses[answer.status] += 1
        # A body that has been coming for 2 s makes room for another.
        await asyncio.sleep(2.1)
        (honest,) = await exchange(
            collector.url, posted(encoded(report([2001])), "Connection: close")
        )
    assert set(statuses) == {200}
    assert slowest < ANSWER_S
    assert refused(collector) > 0
    assert honest.status == 200
