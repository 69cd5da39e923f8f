"""What was acknowledged reaches InfluxDB once, whoever is killed on the way."""

from __future__ import annotations

import asyncio

import pytest

from tests.conftest import Databases, StartServe
from tests.ledger import Ledger, delivered, node_points
from tests.sender import key_of, node_name
from tools.embedded import EmbeddedInflux

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

REPORTS = 5000


async def test_reports_acked_without_influxdb_and_before_kill_reach_it_once(
    own_influx: EmbeddedInflux, own_databases: Databases, serve: StartServe
) -> None:
    own_influx.terminate()
    collector = serve(own_databases.environment)
    ledger = Ledger(collector.url)
    await ledger.send_all(REPORTS)
    assert ledger.answers == {200: REPORTS}
    collector.kill()
    own_influx.start()
    restarted = serve(collector.environment)
    points = await delivered(own_databases, restarted, ledger.acknowledged)
    assert sum(points.values()) == len(points) == REPORTS
    servers = own_databases.server.count(own_databases.raw, "server_report", "nodes")
    assert servers == REPORTS


async def test_reports_acked_before_an_orderly_stop_are_delivered_by_it(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment)
    ledger = Ledger(collector.url)
    async with ledger.sending():
        await ledger.more(100)
        assert await asyncio.to_thread(collector.terminate) == 0
    key = key_of(collector.state_dir)
    acknowledged = {node_name(number, key) for number in ledger.acknowledged}
    assert acknowledged
    assert acknowledged <= node_points(databases).keys()
