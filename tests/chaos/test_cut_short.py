"""InfluxDB cuts queries short while reports come in, in CSV or in JSON.

Two properties: everything acknowledged is there once, and no published number is ever made of a
part of its reports, neither while the fault lasts nor after it.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.command import command
from tests.conftest import Databases, InfluxServer, StartServe
from tests.cut_short import Cut, CuttingProxy, csv_cut, json_cut
from tests.ledger import Ledger, settled
from tests.length import repeat
from tests.network import day_of
from tests.owners import DAY, DAYS_BACK, NEIGHBOURS, lay_past, midnight
from tests.sender import get, lay_key
from tools.embedded import EmbeddedInflux

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

FAULT_S = repeat(4, 20)
PAST = {(NEIGHBOURS + 1, 2 * (NEIGHBOURS + 1))}
"""The reports and nodes of each past day."""


def whole(body: bytes) -> bytes:
    return body


def past_days(server: InfluxServer) -> list[tuple[int, int]]:
    """Reports and nodes of each past day that is published."""
    rows = server.query("SELECT reports, nodes FROM daily_usage", "usage_daily")
    return [(row["reports"], row["nodes"]) for row in rows if row["time"] < midnight()]


@pytest.mark.parametrize(
    ("csv", "json", "form"), [(csv_cut, whole, "CSV"), (whole, json_cut, "JSON")]
)
async def test_no_number_is_made_of_a_part_while_influxdb_cuts_queries_short(
    own_influx: EmbeddedInflux,
    own_databases: Databases,
    serve: StartServe,
    state_dir: Path,
    csv: Cut,
    json: Cut,
    form: str,
) -> None:
    server = own_databases.server
    began_at = midnight()
    # The past is of the same collector, so it has its key.
    lay_key(state_dir)
    await asyncio.to_thread(lay_past, own_databases)
    proxy = CuttingProxy(own_influx.url, cutting=True, csv=csv, json=json)
    async with proxy.open():
        settings = own_databases.environment | {
            "COLLECTOR_INFLUX_URL": proxy.url,
            "COLLECTOR_K_ANONYMITY": "1",
        }
        collector = await asyncio.to_thread(serve, settings)
        ledger = Ledger(collector.url)
        sent_from = time.time_ns()
        async with ledger.sending():
            ends = time.monotonic() + FAULT_S
            while time.monotonic() < ends or not proxy.cuts:
                assert set(await asyncio.to_thread(past_days, server)) <= PAST
                page = await asyncio.to_thread(get, collector.url, "/v1/daily.json")
                assert page.status in (200, 503)
                if page.status == 200:
                    shown = {
                        row["count"]
                        for row in page.json["rows"]
                        if row["measure"] == "reports" and row["final"]
                    }
                    assert shown <= {NEIGHBOURS + 1}
            proxy.cutting = False
            ended = time.monotonic()
        days = [str(day_of(began_at // DAY - back)) for back in (DAYS_BACK, 1)]
        done = await asyncio.to_thread(
            command, collector.environment, "rollup", "--from", days[0], "--to", days[1]
        )
        assert done.code == 0, done.err
        assert await asyncio.to_thread(past_days, server) == list(PAST) * DAYS_BACK
        # The past has done its work, and its nodes reported many times.
        past = f"DELETE FROM node_report WHERE time < {sent_from}"
        await asyncio.to_thread(server.query, past, "usage_raw")
        row = await settled(
            ledger,
            own_databases,
            collector,
            fault=f"InfluxDB cuts queries short, in {form}",
            rounds=proxy.cuts,
            ended=ended,
        )
    assert row.refused == row.unanswered == 0
