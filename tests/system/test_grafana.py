"""Our provisioning in a real Grafana, where there is one; without, these tests are skipped.

TEST_GRAFANA_HOME names an unpacked Grafana (9.3 or newer): both of ours are started from it, over
an InfluxDB with a simulated fleet. TEST_GRAFANA_URL names one that runs with our operators'
provisioning, as admin:admin; only what can be asked of it is.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import urllib3
from playwright.sync_api import Browser, sync_playwright

from tests.alerting import provisioned
from tests.conftest import Databases, InfluxServer
from tests.grafana_api import Api
from tests.live_points import lines, live_measurements
from tests.network import Network, ns, number_of
from tests.sender import eventually
from tools.dashboards.asked import (
    COMMUNITY,
    OPS,
    ROOT,
    Json,
    Span,
    boards,
    chosen,
    filled,
    hidden,
    queries,
)
from tools.demo.grafana import Grafana, find_grafana
from tools.simulation.fleet import Fleet

HOME = os.environ.get("TEST_GRAFANA_HOME", "")
URL = os.environ.get("TEST_GRAFANA_URL", "").rstrip("/")
DAYS = 40
ALERTS_IN = 180.0
SETTLED_MS = 5000

pytestmark = [
    pytest.mark.skipif(
        not (HOME or URL), reason="needs a Grafana: TEST_GRAFANA_HOME or TEST_GRAFANA_URL"
    ),
    pytest.mark.timeout(600),
]


@dataclass(frozen=True)
class Running:
    """Both Grafanas over one fleet."""

    community: Api
    ops: Api
    span: Span
    databases: Databases

    def second_column(self, text: str) -> list[str]:
        """The second column of a query's rows, of which a variable's values are made."""
        rows = self.databases.server.query(text, self.databases.daily)
        return [str(list(row.values())[1]) for row in rows]


@pytest.fixture(scope="module")
def grafanas(
    influx_server: InfluxServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    if not HOME:
        pytest.skip("needs TEST_GRAFANA_HOME")
    databases = Databases(influx_server, f"g{secrets.token_hex(6)}_")
    _lay(databases, tmp_path_factory.mktemp("state"))
    live = f"{databases.prefix}asterisk_live"
    influx_server.create(live)
    last = int(time.time())
    for measurement in live_measurements():
        points = lines(measurement, last - 3600, last, unsure=range(last - 300, last))
        influx_server.write(live, "\n".join(points))
    header = f"Token {influx_server.token or 'none'}"
    now = int(time.time() * 1000)
    with (
        _grafana("community", tmp_path_factory.mktemp("community"), databases, header) as community,
        _grafana("ops", tmp_path_factory.mktemp("ops"), databases, header) as ops,
    ):
        yield Running(
            Api(community), Api(ops, "admin:admin"), Span(now - DAYS * 86_400_000, now), databases
        )
    for name in (databases.raw, databases.daily, live):
        influx_server.drop(name)


def _lay(databases: Databases, state: Path) -> None:
    now = datetime.now(UTC)
    first = now.date() - timedelta(days=DAYS - 1)
    fleet = Fleet(seed=3, servers=150, start=first, days=DAYS)
    network = Network(databases)
    network.create()
    network.lay_received(
        (each.received_ns, each.body)
        for day in range(DAYS)
        for each in fleet.day(first + timedelta(days=day))
        if each.received_ns < ns(now)
    )
    start = number_of(first)

    async def roll() -> None:
        async with network.rollup(state, k=5) as rollup:
            await rollup.roll(range(start, start + DAYS), ns(now))

    asyncio.run(roll())


@contextmanager
def _grafana(kind: str, directory: Path, databases: Databases, header: str) -> Iterator[str]:
    home = find_grafana(Path(HOME))
    assert home is not None, f"{HOME} holds no Grafana"
    grafana = Grafana(
        home=home,
        directory=directory,
        kind=kind,
        project=ROOT,
        influx_url=databases.server.url,
        authorization=header,
        prefix=databases.prefix,
    )
    with grafana.running(ready_s=180):
        yield grafana.url


@pytest.fixture
def ops(request: pytest.FixtureRequest) -> Api:
    """The operators' Grafana: the one given, or the one started."""
    if URL:
        return Api(URL, "admin:admin")
    found: Running = request.getfixturevalue("grafanas")
    return found.ops


def test_every_datasource_answers(ops: Api) -> None:
    for uid in ("usage-daily", "usage-raw", "asterisk-live"):
        kind = ops.get(f"/api/datasources/uid/{uid}")
        assert kind["readOnly"]
        frames = ops.frames(
            uid,
            "influxdb",
            {
                "refId": "A",
                "rawQuery": True,
                "resultFormat": "table",
                "query": "SHOW MEASUREMENTS",
            },
            Span(0, int(time.time() * 1000)),
        )
        assert frames


def _is_there(grafana: Api, path: str) -> bool:
    return grafana.ask("GET", path)[0] == 200


def test_every_dashboard_is_loaded_as_it_is_committed(ops: Api) -> None:
    for board in [*boards(COMMUNITY), *boards(OPS)]:
        path = f"/api/dashboards/uid/{board['uid']}"
        # Grafana answers before it has read its last dashboard.
        eventually(partial(_is_there, ops, path))
        found = ops.get(path)
        assert found["dashboard"]["title"] == board["title"]
        assert found["meta"]["provisioned"]
        assert len(found["dashboard"]["panels"]) == len(board["panels"])


def test_every_query_of_every_panel_returns_frames_without_an_error(grafanas: Running) -> None:
    for api, folder in ((grafanas.community, COMMUNITY), (grafanas.ops, OPS)):
        for board in boards(folder):
            variables = hidden(board, chosen(board), grafanas.span, grafanas.second_column)
            for query in queries(board):
                if query.source == "prometheus":
                    continue
                target = {
                    "refId": query.ref,
                    "rawQuery": True,
                    "resultFormat": "table" if query.table else "time_series",
                    # $timeFilter is left to Grafana; variables are the browser's.
                    "query": filled(
                        query.text.replace("$timeFilter", "@"), variables, grafanas.span
                    ).replace("@", "$timeFilter"),
                }
                api.frames(query.source, "influxdb", target, grafanas.span)


def test_an_anonymous_viewer_cannot_read_raw_reports_by_any_route(grafanas: Running) -> None:
    viewer = grafanas.community
    raw = grafanas.databases.raw
    known = viewer.ask("GET", "/api/datasources")[1]
    assert not isinstance(known, list) or [each["uid"] for each in known] == ["usage-daily"]
    for route in ("usage-raw", "prometheus"):
        status, _ = viewer.ask("GET", f"/api/datasources/proxy/uid/{route}/query?db={raw}&q=SHOW")
        assert status in (401, 403, 404)
    for path in ("/api/admin/settings", "/api/users", "/api/v1/provisioning/contact-points"):
        assert viewer.ask("GET", path)[0] in (401, 403, 404)
    if not grafanas.databases.server.is_2:
        # A 1.x without users lets every query through: there is no fence to look at.
        return
    for path in (
        f"/api/datasources/proxy/uid/usage-daily/query?db={raw}&q=SELECT+*+FROM+node_report+LIMIT+1",
        f"/api/datasources/uid/usage-daily/resources/query?db={raw}&q=SHOW+MEASUREMENTS",
    ):
        status, body = viewer.ask("GET", path)
        assert "series" not in json.dumps(body), (path, status, body)


def test_nobody_signs_in_to_the_communitys_grafana(grafanas: Running) -> None:
    status, _ = grafanas.community.ask("POST", "/login", {"user": "admin", "password": "admin"})
    assert status >= 400
    assert Api(grafanas.community.url, "admin:admin").ask("GET", "/api/admin/stats")[0] >= 400


def test_alert_rules_are_loaded_and_those_over_influxdb_reach_normal(grafanas: Running) -> None:
    wanted = {"NodesDropFast", "NodesDropSlow", "DailySeriesLate", "VersionOrArchVanished"}
    states: dict[str, str] = {}
    deadline = time.monotonic() + ALERTS_IN * 6
    while time.monotonic() < deadline:
        states = {
            rule["name"]: f"{rule['state']} {rule['health']}" for rule in grafanas.ops.rules()
        }
        done = {name for name, state in states.items() if state.endswith((" ok", " nodata"))}
        if wanted & done >= {"NodesDropFast", "NodesDropSlow"}:
            break
        time.sleep(5)
    assert states.keys() == {rule.title for rule in provisioned()}
    assert states["NodesDropFast"].startswith("inactive"), states
    assert states["NodesDropSlow"].startswith("inactive"), states


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("kind", ["community", "ops"])
def test_no_dashboard_shows_an_error_in_a_browser(
    grafanas: Running, browser: Browser, tmp_path: Path, kind: str, width: int
) -> None:
    api, folder = (grafanas.community, COMMUNITY) if kind == "community" else (grafanas.ops, OPS)
    headers = urllib3.make_headers(basic_auth=api.who) if api.who else {}
    # High enough for every panel: one that is not in sight is not drawn.
    page = browser.new_page(
        viewport={"width": width, "height": 9000 if width < 1000 else 3000},
        extra_http_headers=dict(headers),
    )
    for board in boards(folder):
        page.goto(f"{api.url}/d/{board['uid']}?kiosk&from=now-{DAYS}d%2Fd&to=now-1d%2Fd")
        title = next(panel["title"] for panel in board["panels"] if panel.get("title"))
        page.get_by_text(title, exact=True).first.wait_for(timeout=60_000)
        # Grafana keeps connections open, so the network is never idle: what is asked for is here.
        page.wait_for_timeout(SETTLED_MS)
        picture = tmp_path / f"{board['uid']}-{width}.png"
        page.screenshot(path=picture)
        assert picture.stat().st_size > 20_000
        shown = page.content()
        for word in ("Panel plugin not found", "Dashboard not found", "page-alert-list-error"):
            assert word not in shown, (board["uid"], word)
        # There is no Prometheus beside: its panels alone may say so.
        errors = page.locator(".panel-info-corner--error, [data-testid*='Panel status error']")
        allowed = sum(over_prometheus(panel) for panel in board["panels"])
        assert errors.count() <= allowed, (board["uid"], errors.count(), allowed)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, board["uid"]
    page.close()


def over_prometheus(panel: Json) -> bool:
    """Whether a panel asks Prometheus."""
    return any(
        target.get("datasource", {}).get("type") == "prometheus"
        for target in panel.get("targets", [])
    )
