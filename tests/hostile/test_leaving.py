"""Peers that go away in the middle of anything: no error, and no line in the log."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from tests.conftest import Databases, Serve, StartServe
from tests.hostile.wire import Wire, head, posted, source
from tests.length import repeat
from tests.sender import encoded, eventually, get, metric, post, report

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

DAYS = 600


async def left(url: str, sent: bytes, taken: int, number: int) -> None:
    """Ask, take so many bytes of the answer, and go away without a word."""
    wire = await Wire.open(url, source=source(number), limit=4096)
    await wire.send(sent)
    if taken:
        await wire.reader.readexactly(taken)
    await wire.close()


def a_long_series(databases: Databases) -> None:
    today = int(datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp())
    databases.server.create(databases.daily)
    databases.server.write(
        databases.daily,
        "\n".join(
            f"{line} {(today - back * 86_400) * 10**9}"
            for back in range(1, DAYS)
            for line in (
                "daily_usage nodes=1000i,servers=700i,reports=900i,final=1i",
                *(
                    f"daily_nodes,dimension=arch,value=arch{n},within=all,within_value=all"
                    " nodes=100i,final=1i"
                    for n in range(20)
                ),
            )
        ),
    )


def errors(collector: Serve) -> float:
    return metric(collector.metrics_url, "collector_http_refusals_total", reason="internal-error")


async def test_readers_who_go_away_are_no_error(databases: Databases, serve: StartServe) -> None:
    a_long_series(databases)
    collector = serve(databases.environment | {"COLLECTOR_MAX_CONNECTIONS_PER_ADDRESS": "5000"})
    eventually(lambda: get(collector.url, "/v1/freshness").json.get("days", 0) >= DAYS - 1)
    before = collector.logs().count("\n")
    whole = head(method="GET", path="/v1/daily/nodes.csv")
    asked = [
        (whole, 0),
        (whole, 1),
        (whole, 100_000),
        (whole * 20, 300_000),
        (head(method="GET", path="/"), 0),
        (head(method="GET", path="/badge/nodes.svg") * 10, 0),
        (head(method="GET", path="/openapi.json") * 30, 10),
        (posted(encoded(report([2001]))), 0),
        (head(length=1000) + b"{", 0),
        (b"GET / HT", 0),
    ]
    for number in range(repeat(4, 100)):
        await asyncio.gather(
            *(left(collector.url, sent, taken, number) for sent, taken in asked * 3)
        )
    assert (await asyncio.to_thread(post, collector.url, encoded(report([2001])))).status == 200
    assert errors(collector) == 0
    said = collector.logs().splitlines()[before:]
    # A body that breaks off is refused like any other, and logged as sparingly. The rollup goes on.
    others = [
        line
        for line in said
        if "the body is incomplete" not in line and "logger=collector.rollup" not in line
    ]
    assert others == []
