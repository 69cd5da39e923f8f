"""The demo in a real Grafana: every panel has data or a reason, and alerts are as the story says.

Without a Grafana (TEST_GRAFANA_HOME) these tests are skipped, and so without a Prometheus.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from tests.grafana_api import Api
from tests.prometheus import MISSING, is_here
from tests.system.test_demo_panels import EMPTY, HEALTHY, MOMENTARY, OUTAGE, shown
from tools.dashboards.asked import COMMUNITY, LIBRENMS, OPS, Query, boards, filled, queries
from tools.demo import Story
from tools.demo.grafana import HOME_VARIABLE
from tools.demo.story import Place
from tools.demo.watching import Watching
from tools.watch.panels import interval_of, span_of, variables_of

HOME = os.environ.get("TEST_GRAFANA_HOME", "")
COMES_ROUND_S = 150.0
SETTLES_S = 120.0
LOOK_S = 5.0

pytestmark = [
    pytest.mark.skipif(not HOME, reason="needs a Grafana: TEST_GRAFANA_HOME"),
    pytest.mark.skipif(not is_here(), reason=MISSING),
    pytest.mark.timeout(600),
]


def kind_of(query: Query) -> str:
    """The type of a query's datasource."""
    return {"prometheus": "prometheus", "records": "postgres"}.get(query.source, "influxdb")


def target(query: Query, text: str, interval_ms: int) -> dict[str, Any]:
    """A panel's query as the panel sends it, its variables filled in."""
    kind = kind_of(query)
    found: dict[str, Any] = {"refId": query.ref, "intervalMs": interval_ms}
    form = "table" if query.table else "time_series"
    if kind == "prometheus":
        return found | {"expr": text, "instant": query.table, "range": not query.table}
    if kind == "postgres":
        return found | {"rawQuery": True, "rawSql": text, "format": form}
    return found | {"rawQuery": True, "query": text, "resultFormat": form}


def has_value(frames: Collection[Any]) -> bool:
    """Whether any field of any frame has a value beside its times."""
    return any(
        value is not None
        for frame in frames
        for field, values in zip(frame["schema"]["fields"], frame["data"]["values"], strict=True)
        if field.get("type") != "time"
        for value in values
    )


async def empty_in(api: Api, folder: Any, watching: Watching) -> list[str]:
    """Panels of a folder's dashboards that have no data in Grafana."""
    found = []
    now = datetime.now(UTC)
    async with aiohttp.ClientSession() as session:
        for board in boards(folder):
            span = span_of(board, now)
            variables = await variables_of(session, board, watching.sources, span)
            for panel in board["panels"]:
                asked = list(queries({**board, "panels": [panel]}))
                interval = interval_of(span, panel.get("interval") or "")
                full = False
                for query in asked:
                    text = query.text
                    if query.source != "records":
                        # $timeFilter is left to Grafana; variables are the browser's.
                        text = text.replace("$timeFilter", "@")
                        rate = {"__rate_interval": f"{max(120, int(interval[:-1]) + 30)}s"}
                        text = filled(text, {**variables, **rate}, span, interval)
                        text = text.replace("@", "$timeFilter")
                    else:
                        for each in board["templating"]["list"]:
                            text = text.replace(f"${{{each['name']}:raw}}", "")
                    sent = target(query, text, int(interval[:-1]) * 1000)
                    frames = await asyncio.to_thread(
                        api.frames, query.source, kind_of(query), sent, span
                    )
                    full = full or has_value(frames)
                if asked and not full:
                    found.append(f"{board['uid']} / {panel['title']}")
    return found


def states(api: Api) -> dict[str, tuple[str, str]]:
    """State and health of each rule that has been evaluated."""
    return {
        rule["name"]: (rule["state"], rule["health"])
        for rule in api.rules()
        if rule.get("lastEvaluation", "")[:4] not in ("", "0001")
    }


def test_every_panel_of_a_healthy_demo_has_data_in_grafana_and_no_alert_fires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, HOME)

    async def look(place: Place, watching: Watching) -> None:
        ops = Api(watching.grafanas["ops"], "admin:admin")
        community = Api(watching.grafanas["community"])
        # Grafana has no datasource for records in SQLite.
        of_records = () if place.records else ("telemetrics-",)
        deadline = time.monotonic() + COMES_ROUND_S
        while True:
            empty = await empty_in(community, COMMUNITY, watching)
            empty += await empty_in(community, LIBRENMS, watching)
            empty += await empty_in(ops, OPS, watching)
            wrong = [
                each for each in empty if each not in EMPTY and not each.startswith(of_records)
            ]
            if not wrong:
                break
            assert time.monotonic() < deadline, wrong
            await asyncio.sleep(LOOK_S)
        rules = len(watching.rules())
        while len(found := await asyncio.to_thread(states, ops)) < rules:
            assert time.monotonic() < deadline + SETTLES_S, found
            await asyncio.sleep(LOOK_S)
        firing = {name for name, (state, _) in found.items() if state == "firing"}
        assert firing <= MOMENTARY
        assert {health for _, health in found.values()} <= {"ok", "nodata"}, found

    shown(Story.HEALTHY, look, **HEALTHY)


def test_right_alerts_fire_in_grafana_in_the_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, HOME)
    wanted = {"AcceptanceBudgetFast", "NodesDropFast", "NodesDropSlow", "NoReports"}

    async def look(_place: Place, watching: Watching) -> None:
        ops = Api(watching.grafanas["ops"], "admin:admin")
        deadline = time.monotonic() + SETTLES_S
        while True:
            found = await asyncio.to_thread(states, ops)
            if wanted <= {name for name, (state, _) in found.items() if state == "firing"}:
                return
            assert time.monotonic() < deadline, found
            await asyncio.sleep(LOOK_S)

    shown(Story.OUTAGE, look, **OUTAGE)
