"""Our alert rules in a real Grafana, over told stories that end now; what is sent, and to whom.

Without a Grafana (TEST_GRAFANA_HOME) these tests are skipped, and so without a Prometheus.
"""

from __future__ import annotations

import http.server
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.alert_scenarios import Scenario
from tests.alerting import provisioned
from tests.conftest import Databases
from tests.grafana_api import Api
from tests.prometheus import MISSING, is_here, running
from tools.dashboards.asked import ROOT, RULES
from tools.demo.grafana import Grafana, find_grafana

HOME = os.environ.get("TEST_GRAFANA_HOME", "")
DAYS = 16
WAIT_S = 240.0
# Hours of reports must be over before they count; the last three rows end 80 minutes ago.
SILENT_HOURS = 7

pytestmark = [
    pytest.mark.skipif(not HOME, reason="needs a Grafana: TEST_GRAFANA_HOME"),
    pytest.mark.skipif(not is_here(), reason=MISSING),
    pytest.mark.timeout(600),
]


@dataclass
class Listener:
    """What was posted to a local address."""

    url: str
    posted: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def listening() -> Iterator[Listener]:
    found = Listener("")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            found.posted.append(json.loads(self.rfile.read(length)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        found.url = f"http://127.0.0.1:{server.server_port}/alerts"
        yield found
        server.shutdown()
        thread.join()


def story(directory: Path, events: list[dict[str, Any]], metrics: list[dict[str, Any]]) -> Scenario:
    """A network of 600 nodes over the last days, up to some minutes from now."""
    start = datetime.now(UTC).date() - timedelta(days=DAYS)
    told = {
        "start": start.isoformat(),
        "nodes": 600,
        "watch": f"{DAYS}T00:00",
        "until": f"{DAYS + 1}T00:00",
        "events": events,
        "metrics": metrics,
        "alerts": [],
    }
    path = directory / "story.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    return Scenario(path)


def told(at: datetime) -> str:
    """A time as stories write it."""
    start = datetime.now(UTC).date() - timedelta(days=DAYS)
    return f"{(at.date() - start).days}T{at:%H:%M}"


@contextmanager
def watching(
    scenario: Scenario, databases: Databases, directory: Path, *, quickly: bool, **options: Any
) -> Iterator[Api]:
    """The operators' Grafana over a story. `quickly`: rules are looked at every 10 s, at once."""
    project = directory / "project"
    shutil.copytree(ROOT / "provisioning", project / "provisioning")
    shutil.copytree(ROOT / "grafana", project / "grafana")
    if quickly:
        rules = json.loads(RULES.read_text(encoding="utf-8"))
        for group in rules["groups"]:
            group["interval"] = "10s"
            for rule in group["rules"]:
                rule["for"] = "0s"
        (project / RULES.relative_to(ROOT)).write_text(json.dumps(rules), encoding="utf-8")
    now = int(time.time())
    databases.server.create(databases.daily)
    lines = [line.text for line in scenario.lines() if line.visible <= now]
    databases.server.write(databases.daily, "\n".join(lines))
    home = find_grafana(Path(HOME))
    assert home is not None
    # Some minutes ahead too, or the last sample would be too old before all has been looked at.
    samples = [sample for sample in scenario.samples() if sample[2] < now + 900]
    with ExitStack() as stack:
        prometheus = stack.enter_context(running(directory / "prometheus", samples))
        grafana = Grafana(
            home=home,
            directory=directory / "grafana",
            kind="ops",
            project=project,
            influx_url=databases.server.url,
            authorization=f"Token {databases.server.token or 'none'}",
            prefix=databases.prefix,
            prometheus_url=prometheus.url,
            **options,
        )
        yield Api(stack.enter_context(grafana.running(ready_s=180)), "admin:admin")


def states(api: Api) -> dict[str, tuple[str, str, str]]:
    """State, health and last error of each rule, by its name."""
    return {
        rule["name"]: (rule["state"], rule["health"], rule.get("lastError", ""))
        for rule in api.rules()
        if rule.get("lastEvaluation", "")[:4] not in ("", "0001")
    }


def settled(api: Api, firing: set[str]) -> dict[str, tuple[str, str, str]]:
    """The states once every rule has been looked at and these fire, or as they are at the end."""
    deadline = time.monotonic() + WAIT_S
    found: dict[str, tuple[str, str, str]] = {}
    while time.monotonic() < deadline:
        found = states(api)
        fires = {name for name, state in found.items() if state[0] == "firing"}
        if len(found) == len(provisioned()) and firing <= fires:
            break
        time.sleep(2)
    return found


def test_a_healthy_network_wakes_nobody(databases: Databases, tmp_path: Path) -> None:
    with watching(story(tmp_path, [], []), databases, tmp_path, quickly=True) as api:
        found = settled(api, set())
        assert len(found) == len(provisioned())
        time.sleep(15)
        found = states(api)
    wrong = {name: state for name, state in found.items() if state[0] != "inactive"}
    assert not wrong
    assert {health for _, health, _ in found.values()} <= {"ok", "nodata"}, found


def test_silence_fires_and_arrives_where_the_operator_said(
    databases: Databases, tmp_path: Path
) -> None:
    since = datetime.now(UTC) - timedelta(hours=SILENT_HOURS)
    events = [{"kind": "lose", "share": 1, "from": told(since)}]
    metrics: list[dict[str, Any]] = [
        {"name": "collector_dead_letters", "steps": [[told(since), 12]]},
        {
            "name": "collector_reports_total",
            "labels": {"intake": "asl", "outcome": "unavailable"},
            "steps": [
                [told(since + timedelta(minutes=3 * number)), number]
                for number in range(20 * SILENT_HOURS + 5)
            ],
        },
    ]
    wanted = {
        "NoReports",
        "NodesDropFast",
        "NodesDropSlow",
        "DeadLetters",
        "AcceptanceBudgetFast",
        "AcceptanceBudgetSlow",
    }
    with listening() as listener:
        options = {"notify": "webhook", "environment": {"ALERT_WEBHOOK_URL": listener.url}}
        scenario = story(tmp_path, events, metrics)
        with watching(scenario, databases, tmp_path, quickly=True, **options) as api:
            points = api.get("/api/v1/provisioning/contact-points")
            assert [(each["name"], each["type"]) for each in points if each["uid"]] == [
                ("operators", "webhook")
            ]
            found = settled(api, wanted)
            assert {name for name, state in found.items() if state[0] == "firing"} == wanted
            assert {state[2] for state in found.values()} == {""}
            deadline = time.monotonic() + WAIT_S
            arrived: dict[str, dict[str, Any]] = {}
            while time.monotonic() < deadline and not wanted <= arrived.keys():
                arrived = {
                    alert["labels"]["alertname"]: alert
                    for message in list(listener.posted)
                    for alert in message["alerts"]
                    if alert["status"] == "firing"
                }
                time.sleep(1)
    assert wanted == arrived.keys()
    for name, alert in arrived.items():
        summary = alert["annotations"]["summary"]
        assert "{{" not in summary, summary
        assert "no value" not in summary, summary
        assert any(letter.isdigit() for letter in summary), summary
        assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    assert "Only 0 reports" in arrived["NodesDropFast"]["annotations"]["summary"]
    assert arrived["NoReports"]["labels"]["severity"] == "critical"


@pytest.mark.parametrize("way", ["off", "email", "both"])
def test_each_way_to_notify_is_provisioned_as_it_says(
    way: str, databases: Databases, tmp_path: Path
) -> None:
    environment = {
        "ALERT_EMAIL_TO": "duty@example.org;second@example.org",
        "ALERT_WEBHOOK_URL": "http://127.0.0.1:9/alerts",
    }
    scenario = story(tmp_path, [], [])
    options = {"notify": way, "environment": environment}
    with watching(scenario, databases, tmp_path, quickly=False, **options) as api:
        points = api.get("/api/v1/provisioning/contact-points")
        policy = api.get("/api/v1/provisioning/policies")
    ours = {each["type"]: each["settings"] for each in points if each["name"] == "operators"}
    if way == "off":
        assert not ours
        assert policy["receiver"] != "operators"
        return
    assert policy["receiver"] == "operators"
    assert ours["email"]["addresses"] == environment["ALERT_EMAIL_TO"]
    assert ("webhook" in ours) == (way == "both")
