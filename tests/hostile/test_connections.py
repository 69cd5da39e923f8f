"""Whoever holds connections, slowly or in great numbers, keeps no honest sender out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter

import pytest

from tests.busy import measured
from tests.conftest import Databases, Serve, StartServe
from tests.hostile.conftest import WAIT_S
from tests.hostile.watch import descriptors, settle, watching
from tests.hostile.wire import Wire, address, exchange, head, many, posted, source, split
from tests.length import repeat
from tests.queues import unread
from tests.sender import encoded, metric, report, until

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

PROMPT_S = 2.0
"""What an honest sender may have to wait, on two busy cores."""
SLACK_S = 3.0
ARRIVES_S = 2.0
"""What a request has at least to arrive in, before its connection is closed for another."""
MIB = 1 << 20


def refusals(collector: Serve, reason: str) -> float:
    return metric(collector.metrics_url, "collector_http_refusals_total", reason=reason)


async def drip(url: str, sent: bytes, *, from_: str) -> tuple[float, int, str]:
    """Send a byte at a time; after how long it was ended, with which status and reason."""
    wire = await Wire.open(url, source=from_)
    begun = time.monotonic()
    try:
        answers = split(await wire.drip(sent) + await wire.rest())
    finally:
        await wire.close()
    seconds = time.monotonic() - begun
    return (seconds, answers[0].status, answers[0].reason) if answers else (seconds, 0, "")


async def test_slow_heads_are_ended_in_time(victim: Serve, victim_databases: Databases) -> None:
    before = refusals(victim, "too-slow")
    with measured(victim.process.pid) as spent, watching(victim, victim_databases) as watch:
        ended = await asyncio.gather(
            *(
                drip(victim.url, head(f"X-Slow: {'y' * 400}"), from_=source(n))
                for n in range(repeat(100, 200))
            )
        )
    assert max(seconds for seconds, _, _ in ended) - spent.starved_s < WAIT_S + SLACK_S
    assert {(status, reason) for _, status, reason in ended} == {(408, "too-slow")}
    assert refusals(victim, "too-slow") - before >= len(ended)
    assert watch.slowest_s < PROMPT_S
    settle(watch, "slow heads", Counter(status for _, status, _ in ended))


async def test_slow_bodies_are_ended_in_time(victim: Serve, victim_databases: Databases) -> None:
    body = encoded(report([2001]))
    slow = head(length=len(body) + 10_000)

    async def attack(number: int) -> tuple[float, int, str]:
        wire = await Wire.open(victim.url, source=source(number))
        begun = time.monotonic()
        await wire.send(slow)
        answers = split(await wire.drip(body) + await wire.rest())
        await wire.close()
        first = answers[0] if answers else None
        seconds = time.monotonic() - begun
        return seconds, first.status if first else 0, first.reason if first else ""

    with measured(victim.process.pid) as spent, watching(victim, victim_databases) as watch:
        ended = await asyncio.gather(*(attack(n) for n in range(repeat(100, 200))))
    # After its answer a connection may linger, in case the sender only now reads it.
    assert max(seconds for seconds, _, _ in ended) - spent.starved_s < 2 * WAIT_S + SLACK_S
    assert {(status, reason) for _, status, reason in ended} == {(408, "too-slow")}
    assert watch.slowest_s < PROMPT_S
    settle(watch, "slow bodies", Counter(status for _, status, _ in ended))


async def test_1000_idle_connections_keep_nobody_out(
    victim: Serve, victim_databases: Databases
) -> None:
    with watching(victim, victim_databases) as watch:
        async with many(victim.url, (source(n // 100) for n in range(1000))):
            await until(
                lambda: metric(victim.metrics_url, "collector_connections", address="public") <= 5,
            )
    assert watch.most_descriptors < 1000 + 100
    assert watch.grown < 100 * MIB
    assert watch.slowest_s < PROMPT_S
    settle(watch, "1 000 idle connections", Counter({0: 1000}))


async def test_senders_of_one_address_are_heard_among_its_idle_connections(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(
        databases.environment
        | {"COLLECTOR_MAX_CONNECTIONS_PER_ADDRESS": "50", "COLLECTOR_READ_TIMEOUT": "60s"}
    )
    async with many(collector.url, [source(1)] * 50):
        await asyncio.sleep(0.5)
        with watching(collector, databases, source=source(1)) as watch:
            await asyncio.sleep(2)
    settle(watch, "idle connections from the honest sender's own address")
    assert refusals(collector, "too-many-connections") >= 1


async def test_address_whose_connections_are_all_at_work_is_told_to_come_back(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment | {"COLLECTOR_MAX_CONNECTIONS_PER_ADDRESS": "10"})
    body = posted(encoded(report([2001])), "Connection: close")
    port = address(collector.url)[1]
    for _ in range(5):
        async with many(collector.url, [source(1)] * 10) as busy:
            begun = time.monotonic()
            for wire in busy:
                await wire.send(head(length=100) + b"{")
            await until(lambda: not unread(port, "tcp"))
            before = refusals(collector, "too-many-connections")
            (answer,) = await exchange(collector.url, body, source=source(1))
            if answer.status == 200 and time.monotonic() - begun > ARRIVES_S:
                # On a slow machine the first of them had had its time.
                continue
            assert (answer.status, answer.reason) == (503, "too-many-connections")
            assert b"\r\nRetry-After: " in answer.head
            assert refusals(collector, "too-many-connections") == before + 1
            (other,) = await exchange(collector.url, body, source=source(2))
            assert other.status == 200
            return
    pytest.fail("this machine is too slow")


async def test_more_connections_than_there_is_room_for_use_no_more(
    databases: Databases, serve: StartServe
) -> None:
    most, tried = 200, repeat(600, 2000)
    collector = serve(
        databases.environment
        | {"COLLECTOR_MAX_CONNECTIONS": str(most), "COLLECTOR_READ_TIMEOUT": "60s"}
    )
    before = descriptors(collector.process.pid)
    async with many(collector.url, (source(n // 50) for n in range(most))) as wires:
        await asyncio.sleep(0.5)
        with watching(collector, databases) as watch:
            for number in range(most, tried):
                wires.append(await Wire.open(collector.url, source=source(number)))
                await asyncio.sleep(0.005)
    assert watch.most_descriptors <= before + most + 50
    assert refusals(collector, "too-many-connections") >= tried - most - 60
    attack = f"{tried} connections where there is room for {most}"
    settle(watch, attack, Counter({0: tried}))


async def test_readers_who_take_nothing_are_given_up(
    victim: Serve, victim_databases: Databases
) -> None:
    asked = head(method="GET", path="/openapi.json") * 400
    async with many(victim.url, map(source, range(20)), limit=1024) as wires:
        for wire in wires:
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        with watching(victim, victim_databases) as watch:
            for wire in wires:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await wire.send(asked)
            await until(
                lambda: metric(victim.metrics_url, "collector_connections", address="public") <= 3,
            )
    assert watch.grown < 60 * MIB
    assert watch.slowest_s < PROMPT_S
    settle(watch, "readers who take nothing", Counter({0: 20}))


@pytest.mark.timeout(900)
async def test_a_million_tiny_requests_cost_time_and_nothing_else(
    victim: Serve, victim_databases: Databases
) -> None:
    """The short form sends 4 000."""
    wanted, at_once = repeat(4_000, 1_000_000), 8
    tiny, burst = posted(b"{}"), 25
    log_before = victim.log.stat().st_size
    answered = 0

    async def attack(number: int) -> None:
        nonlocal answered
        async with many(victim.url, [source(number)]) as (wire,):
            for _ in range(wanted // at_once // burst):
                await wire.send(tiny * burst)
                refused = 0
                while refused < burst:
                    piece = await wire.reader.readuntil(b"}\n")
                    refused += piece.count(b"HTTP/1.1 400 ")
                    answered += 1

    with watching(victim, victim_databases) as watch:
        await asyncio.gather(*(attack(n) for n in range(at_once)))
    assert answered == wanted
    assert watch.grown < 50 * MIB
    # Each minute logs so many lines of one reason, whoever causes how many.
    assert victim.log.stat().st_size - log_before < MIB
    assert watch.slowest_s < PROMPT_S
    attack_name = f"{wanted:,} tiny requests".replace(",", " ")
    settle(watch, attack_name, Counter({400: wanted}))
