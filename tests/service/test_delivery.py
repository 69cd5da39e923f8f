"""Delivery: from a real outbox to an InfluxDB in trouble, and what is left where."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.busy import measured
from tests.sender import until
from tests.service.delivery import delivering, entry, numbered
from tests.service.upstream import Answer, Upstream

DRAIN = 10.0


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream().running() as server:
        yield server


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
async def test_lines_arrive_once_influxdb_is_well_again(
    upstream: Upstream, tmp_path: Path, status: int
) -> None:
    upstream.script = deque([Answer(status, "timeout")] * 3)
    async with delivering(tmp_path, upstream.url) as delivery:
        await delivery.put(*numbered(0, 10))
        await upstream.wait_stored(10)
        await delivery.emptied()
    assert upstream.stored == numbered(0, 10)
    assert delivery.dead() == {}


async def test_attempts_grow_further_apart(upstream: Upstream, tmp_path: Path) -> None:
    upstream.always = Answer(500, "engine: closed")
    async with delivering(tmp_path, upstream.url) as delivery:
        await delivery.put("m f=1i 1")
        await upstream.wait_seen(5)
        pauses = [b.at - a.at for a, b in zip(upstream.seen, upstream.seen[1:], strict=False)]
        assert delivery.blocked("unavailable")
        upstream.always = Answer()
    # At least half of 0.2 s, twice as much each time; a busy machine adds to any of them.
    assert all(pause > 0.09 * 2**number for number, pause in enumerate(pauses)), pauses


async def test_too_many_requests_are_answered_by_the_wait_asked_for(
    upstream: Upstream, tmp_path: Path
) -> None:
    upstream.script = deque([Answer(429, "slow down", {"Retry-After": "2"})])
    async with delivering(tmp_path, upstream.url) as delivery:
        await delivery.put("m f=1i 1")
        await upstream.wait_stored(1)
    first, second = upstream.seen
    assert second.at - first.at >= 1.9


async def test_lines_arrive_once_influxdb_is_there(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    upstream = Upstream(free_port())
    async with delivering(tmp_path, upstream.url) as delivery:
        await delivery.put(*numbered(0, 10))
        await until(lambda: delivery.blocked("unavailable"))
        async with upstream.running():
            await upstream.wait_stored(10)
            await delivery.emptied()
            await until(lambda: not delivery.blocked("unavailable"))


@pytest.mark.parametrize("status", [401, 403, 404, 301])
async def test_denial_blocks_until_it_is_cured(
    upstream: Upstream, tmp_path: Path, status: int
) -> None:
    upstream.always = Answer(status, "no such thing for you")
    async with delivering(tmp_path, upstream.url) as delivery:
        await delivery.put(*numbered(0, 10))
        await upstream.wait_seen(2)
        assert delivery.blocked("denied")
        assert delivery.left() == 10
        upstream.always = Answer()
        await upstream.wait_stored(10)
        await delivery.emptied()
        await until(lambda: not delivery.blocked("denied"))
    assert delivery.dead() == {}


async def test_refusal_to_make_databases_is_logged_once(upstream: Upstream, tmp_path: Path) -> None:
    upstream.always = Answer(401, "authorization failed")
    upstream.query = Answer(401, "authorization failed")
    with capture_logs() as logged:
        async with delivering(tmp_path, upstream.url) as delivery:
            await delivery.put(*numbered(0, 10))
            await upstream.wait_seen(3)
            upstream.always = Answer()
            await upstream.wait_stored(10)
    refused = [one for one in logged if one["event"].startswith("databases could not be made")]
    assert len(refused) == 1


@pytest.mark.parametrize(
    ("host", "encodings"),
    [
        pytest.param("127.0.0.1", {None}, id="on this machine"),
        pytest.param("localhost", {None}, id="on this machine by name"),
        # Linux takes it for this machine too; it is no address of the loopback.
        pytest.param("0.0.0.0", {"gzip"}, id="elsewhere"),  # noqa: S104 - nothing listens there
    ],
)
async def test_lines_are_sent_in_order_over_one_connection_compressed_to_other_machines(
    upstream: Upstream, tmp_path: Path, host: str, encodings: set[str | None]
) -> None:
    async with delivering(tmp_path, upstream.url.replace("127.0.0.1", host)) as delivery:
        for first in (0, 100, 200):
            await delivery.put(*numbered(first, first + 100))
            await upstream.wait_stored(first + 100)
    assert upstream.stored == numbered(0, 300)
    assert len(upstream.seen) >= 3
    assert {seen.headers.get("Content-Encoding") for seen in upstream.seen} == encodings
    assert {(seen.params["db"], seen.params["precision"]) for seen in upstream.seen} == {
        ("usage_raw", "ns")
    }
    assert len({seen.connection for seen in upstream.seen}) == 1


async def test_batch_has_at_most_5000_lines(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script = deque([Answer(503)])
    async with delivering(tmp_path, upstream.url) as delivery:
        lines = numbered(0, 12_000)
        await asyncio.gather(
            *(delivery.outbox.append(entry(*lines[n : n + 400])) for n in range(0, 12_000, 400))
        )
        await upstream.wait_stored(12_000)
    assert upstream.stored == lines
    assert max(len(seen.lines) for seen in upstream.seen) <= 5000


async def test_a_refusal_in_the_middle_of_many_batches_leaves_none_out(
    upstream: Upstream, tmp_path: Path
) -> None:
    lines = numbered(0, 20_000)
    # The next batch is made ready while the one before it is under way.
    upstream.script = deque([Answer(), Answer(503), Answer(), Answer(500), Answer(503)])
    async with delivering(tmp_path, upstream.url) as delivery:
        await asyncio.gather(
            *(delivery.outbox.append(entry(*lines[n : n + 100])) for n in range(0, 20_000, 100))
        )
        await upstream.wait_stored(20_000)
        await delivery.emptied()
    assert upstream.stored == lines


async def test_report_reaches_influxdb_within_about_a_second(
    upstream: Upstream, tmp_path: Path
) -> None:
    async with delivering(tmp_path, upstream.url) as delivery:
        best_s = float("inf")
        for number in range(1, 6):
            with measured() as spent:
                await delivery.put(f"m f={number}i {number}")
                await upstream.wait_stored(number)
            best_s = min(best_s, spent.own_s)
        # The best of some, since a busy disk takes its time.
        assert best_s < 2.0


async def test_only_the_line_that_influxdb_cannot_parse_is_set_aside(
    upstream: Upstream, tmp_path: Path
) -> None:
    upstream.refuses = "BAD"
    lines = [*numbered(0, 500), "BAD f=1i 1", *numbered(500, 1000)]
    async with delivering(tmp_path, upstream.url) as delivery:
        await delivery.put(*lines)
        await upstream.wait_stored(1000)
        await delivery.emptied()
    # Counted after they are gone from the outbox: only at its end the writer has counted all.
    assert (
        delivery.metric("collector_writer_lines_total", target="influx", outcome="dead-letter") == 1
    )
    assert (
        delivery.metric("collector_writer_lines_total", target="influx", outcome="written") == 1000
    )
    assert delivery.dead() == {"BAD f=1i 1": "unable to parse 'BAD'"}
    assert set(upstream.stored) == set(lines) - {"BAD f=1i 1"}
    assert len(upstream.seen) < 100


async def test_batch_too_large_for_influxdb_is_sent_in_parts(
    upstream: Upstream, tmp_path: Path
) -> None:
    upstream.most_lines = 30
    async with delivering(tmp_path, upstream.url) as delivery:
        await delivery.put(*numbered(0, 200))
        await upstream.wait_stored(200)
        await delivery.emptied()
    assert upstream.stored == numbered(0, 200)
    assert delivery.dead() == {}


async def test_line_alone_too_large_for_influxdb_is_set_aside(
    upstream: Upstream, tmp_path: Path
) -> None:
    upstream.most_lines = 0
    async with delivering(tmp_path, upstream.url) as delivery:
        await delivery.put("m f=1i 1")
        await delivery.emptied()
    assert delivery.dead() == {"m f=1i 1": "too large for InfluxDB"}


async def test_outage_while_bad_lines_are_sought_loses_none(
    upstream: Upstream, tmp_path: Path
) -> None:
    upstream.refuses = "BAD"
    lines = [*numbered(0, 50), "BAD f=1i 1", *numbered(50, 100)]
    async with delivering(tmp_path, upstream.url) as delivery:
        upstream.script = deque(
            [Answer(503), Answer(400, "unable to parse"), Answer(204), Answer(503)]
        )
        await delivery.put(*lines)
        await delivery.emptied()
    assert set(upstream.stored) >= set(lines) - {"BAD f=1i 1"}
    assert list(delivery.dead()) == ["BAD f=1i 1"]


async def test_stop_delivers_what_is_left_first(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script = deque([Answer(503)] * 4)
    async with delivering(tmp_path, upstream.url) as delivery:
        await delivery.put(*numbered(0, 100))
    assert upstream.stored == numbered(0, 100)


async def test_stop_waits_at_most_ten_seconds_for_a_silent_influxdb(
    upstream: Upstream, tmp_path: Path
) -> None:
    upstream.always = Answer(hangs=True)
    async with AsyncExitStack() as stack:
        delivery = await stack.enter_async_context(delivering(tmp_path, upstream.url))
        await delivery.put("m f=1i 1")
        await upstream.wait_seen(1)
        with measured() as spent:
            await stack.aclose()
    assert spent.clock_s > DRAIN - 1
    assert spent.own_s < DRAIN + 3
    assert delivery.left() == 1
