"""The demo's dashboards and alerts, without a Grafana: every panel's query, every rule."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from rich.console import Console

from tests.prometheus import MISSING, is_here
from tools.dashboards.asked import COMMUNITY, LIBRENMS, OPS
from tools.demo import Story, demo
from tools.demo.story import Place
from tools.demo.watching import Watching
from tools.watch.panels import empty_panels

# The change over 30 days needs a day 30 days before the last complete one.
HEALTHY = {"servers": 150, "days": 33}
# Of fewer servers no alert is sure of silence.
OUTAGE = {"servers": 800, "days": 10}

_MOMENT = "what is recorded has it at some moments alone"
EMPTY = {
    "asterisk-live / Busiest endpoints now": _MOMENT,
    "asterisk-live / What may be wrong, since": "every gauge has been set since its Asterisk began",
    "asterisk-live / May be wrong": "every gauge has been set since its Asterisk began",
    "asterisk-live / Host: units not active": "all run",
    "usage-versions / Other upgrades": "of so few servers none may upgrade apart from the others",
    "collector-health / Nodes on the public list, and its age (right)": "no list is configured",
    "usage-overview / Nodes listed, full day": "no list is configured",
    "usage-overview / Nodes heard, 30-day share": "no list is configured",
    "usage-overview / Reports dropped, full day": "nobody opted out",
    "collector-health / Days not final": "all are final that are due",
    "collector-health / Refused unread in an hour, by reason": "nobody attacks the demo",
    "collector-intake / Values over budget": "no tag is over its budget",
    "collector-intake / Refused in 5 minutes, by reason": "nothing is refused",
    "collector-storage / InfluxDB 2 on disk, by bucket": "the demo's InfluxDB is a 1.x",
    "telemetrics-records / The chosen record: its fields": "no record is chosen as it opens",
    "telemetrics-records / The chosen record: its payload": "no record is chosen as it opens",
    "telemetrics-records / The chosen record: what was found in it": "no record is chosen",
}
"""Panels that may have no data in a healthy demo, each with the reason."""
MOMENTARY = {"AmiAway", "QueueNoAgent"}
"""Rules that hold for a moment where a recording begins anew; they must hold for 2 minutes."""

pytestmark = [
    pytest.mark.no_cover,  # the slow repetition of what other tests cover
    pytest.mark.skipif(not is_here(), reason=MISSING),
    pytest.mark.timeout(600),
]


# The recordings of the Asterisks take up to two minutes.
COMES_ROUND_S = 240.0
LOOK_S = 4.0

Look = Callable[[Place, Watching], Awaitable[None]]


def shown(story: Story, look: Look, *, servers: int, days: int) -> str:
    """Run a demo until it is ready, and look at it; what it said."""
    said = io.StringIO()
    console = Console(file=said, width=100)
    code = asyncio.run(demo(console, servers=servers, days=days, story=story, look=look))
    assert code == 0, said.getvalue()
    return said.getvalue()


async def without_reason(folder: Path, place: Place, watching: Watching) -> list[str]:
    """Panels of a folder that have no data, without a reason or without words for it."""
    async with aiohttp.ClientSession() as session:
        empty = await empty_panels(session, folder, watching.sources, datetime.now(UTC))
    return [
        str(each)
        for each in empty
        if not each.says
        or (
            f"{each.board} / {each.panel}" not in EMPTY
            # Grafana has no datasource for records in SQLite.
            and (place.records is not None or "PostgreSQL" not in each.says)
        )
    ]


def test_every_panel_of_a_healthy_demo_has_data_or_a_reason_and_no_alert_fires() -> None:
    async def look(place: Place, watching: Watching) -> None:
        deadline = time.monotonic() + COMES_ROUND_S
        for folder in (COMMUNITY, LIBRENMS, OPS):
            while empty := await without_reason(folder, place, watching):
                assert time.monotonic() < deadline, empty
                assert set(await watching.firing()) <= MOMENTARY
                await asyncio.sleep(LOOK_S)
        assert set(await watching.firing()) <= MOMENTARY

    said = shown(Story.HEALTHY, look, **HEALTHY)
    assert "3 times 200, 3 times 201" in said
    assert "evaluated as Grafana does" in said


def test_right_alerts_fire_in_the_outage() -> None:
    async def look(_place: Place, watching: Watching) -> None:
        wanted = {"AcceptanceBudgetFast", "NodesDropFast", "NodesDropSlow", "NoReports"}
        deadline = time.monotonic() + COMES_ROUND_S
        # The refusals of now count once Prometheus has scraped them.
        while not wanted <= (firing := set(await watching.firing())):
            assert time.monotonic() < deadline, firing
            await asyncio.sleep(LOOK_S)

    said = shown(Story.OUTAGE, look, **OUTAGE)
    assert said.count('503 {"type"') == 5
    assert "NodesDropFast" in said
