"""The demo at any hour: its past raises no alert, and that of the outage raises some."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from collector import parts
from collector.settings import Settings
from tests.conftest import Databases
from tests.network import Network, ns
from tests.prometheus import MISSING, Sample, is_here, running
from tests.sender import lay_key
from tools.demo.metrics_past import Past
from tools.demo.past import Cast, Story, count_days, lay_fleet
from tools.demo.watching import asked_for, holding
from tools.watch.rules import provisioned
from tools.watch.sources import Sources

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

SERVERS = 400
DAYS = 16
# The open day is nearly empty, and the one before is not final until 01:00.
HOURS = ("2026-03-04T00:04", "2026-06-07T00:59", "2026-09-10T14:31")
OUTAGE = {"NoReports", "NodesDropFast", "NodesDropSlow", "AcceptanceBudgetFast"}
RULES = [rule for rule in provisioned() if not rule.sources() & {"asterisk-live", "telemetrics"}]
# Of a collector: what its metrics say, and no more, is in the history.
LIVE = """# TYPE collector_outbox_accepting gauge
collector_outbox_accepting 1.0
# TYPE collector_outbox_age_seconds gauge
collector_outbox_age_seconds{target="influxdb"} 0.0
# TYPE collector_rollup_last_success_timestamp_seconds gauge
collector_rollup_last_success_timestamp_seconds 1.0
# TYPE collector_request_seconds histogram
collector_request_seconds_bucket{le="+Inf"} 5.0
collector_request_seconds_count 5.0
collector_request_seconds_sum 0.1
# TYPE collector_writer_lines_total counter
collector_writer_lines_total{outcome="written"} 12.0
"""


@dataclass(frozen=True)
class Told:
    """A past of the demo, in databases of its own."""

    cast: Cast
    samples: list[Sample]


async def tell(cast: Cast, databases: Databases, state: Path) -> Told:
    """Lay a past down and count its days, as the demo does."""
    server = databases.server
    settings = Settings.model_construct(
        influx_url=server.url,
        influx_token=SecretStr(server.token or ""),
        influx_org=server.org,
        influx_prefix=databases.prefix,
        state_dir=state,
    )
    lay_key(state)
    async with parts.influx_of(settings) as influx:
        laid = await lay_fleet(cast, settings, influx, done=lambda: None)
        await count_days(cast, settings, influx, done=lambda: None)
    past = Past(
        arrivals=laid.arrivals,
        until_s=cast.now_ns // 10**9,
        started_s=cast.now_ns / 10**9 - 60,
        instance="demo",
        refused_s=cast.heard_until_ns / 10**9 if cast.story is Story.OUTAGE else None,
    )
    return Told(cast, list(past.samples(LIVE, laid.exposition, asked_for())))


@pytest.mark.skipif(not is_here(), reason=MISSING)
@pytest.mark.parametrize("story", list(Story))
def test_rules_hold_in_the_outage_alone_at_any_hour(
    story: Story, databases: Databases, tmp_path: Path
) -> None:
    Network(databases).create()
    casts = [
        Cast.of(
            ns(datetime.fromisoformat(f"{hour}+00:00")), servers=SERVERS, days=DAYS, story=story
        )
        for hour in HOURS
    ]

    async def told() -> list[Told]:
        return [
            await tell(cast, databases, tmp_path / f"state-{number}")
            for number, cast in enumerate(casts)
        ]

    pasts = asyncio.run(told())
    samples = [sample for past in pasts for sample in past.samples]
    with running(tmp_path / "prometheus", samples) as prometheus:
        sources = Sources(
            influx_url=databases.server.url,
            prometheus_url=prometheus.url,
            prefix=databases.prefix,
            token=databases.server.token or "",
        )
        for cast in casts:
            held = asyncio.run(holding(RULES, sources, cast.now_ns // 10**9))
            if story is Story.HEALTHY:
                assert held == {}, cast.now
            else:
                assert held.keys() >= OUTAGE, (cast.now, held)
                assert held.keys() <= OUTAGE | {"AcceptanceBudgetSlow"}, (cast.now, held)
