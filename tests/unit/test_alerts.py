"""Every alert: a severity, a summary with numbers, a heading in the runbook; and the arithmetic."""

from __future__ import annotations

import json
import math
import re

import pytest

from tests.alerting import provisioned
from tests.unit.test_dashboards import metric_names, unknown_names
from tools.dashboards import alerts
from tools.dashboards.asked import OPS, ROOT, boards
from tools.watch.expressions import computed, number, reduced, series

PROMISED = {
    "NodesDropFast",
    "NodesDropSlow",
    "NoReports",
    "VersionOrArchVanished",
    "DailySeriesLate",
    "OutboxBacklog",
    "DeadLetters",
    "InfluxUnreachable",
    "DiskLow",
    "CardinalityBudget",
    "ErasuresWaiting",
    "OutboxSetAside",
    "DaysFailing",
    "ClockWrong",
    "AcceptanceBudgetFast",
    "AcceptanceBudgetSlow",
    "FreshnessBudget",
    "ContactsUnreachable",
    "RegistrationLost",
    "Iax2RegistrationLost",
    "RoundTripSlow",
    "DatagramsDropped",
    "AsteriskSilent",
    "QueueLongestWait",
    "QueueAbandoned",
    "QueueNoAgent",
    "TrunkLost",
    "SpeechLost",
    "WrongPasswords",
    "AmiAway",
    "CallsBelowUsual",
}
RUNBOOK = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")


def test_there_are_the_alerts_that_were_promised() -> None:
    rules = provisioned()
    assert {rule.title for rule in rules} == PROMISED
    assert len(rules) == len(PROMISED)
    assert len({rule.rule["uid"] for rule in rules}) == len(rules)
    assert all(len(rule.rule["uid"]) <= 40 for rule in rules)


def test_every_alert_has_its_heading_in_the_runbook_and_each_heading_its_alert() -> None:
    headings = re.findall(r"(?m)^## (.+)$", RUNBOOK)
    assert set(headings) == PROMISED
    pages = {
        panel["id"]: panel
        for panel in next(board for board in boards(OPS) if board["uid"] == "collector-runbook")[
            "panels"
        ]
    }
    for rule in provisioned():
        notes = rule.rule["annotations"]
        assert notes["runbook_url"] == f"docs/runbook.md#{rule.title.lower()}"
        assert notes["__dashboardUid__"] == "collector-runbook"
        assert pages[int(notes["__panelId__"])]["title"] == rule.title
    for part in re.split(r"(?m)^## ", RUNBOOK)[1:]:
        for word in ("**Means.**", "**Look.**", "**Do.**"):
            assert word in part, part[:40]


def test_every_alert_says_how_grave_it_is_and_what_no_data_means() -> None:
    for rule in provisioned():
        assert rule.rule["labels"]["severity"] in ("critical", "warning")
        assert rule.rule["noDataState"] == "OK"
        # Where no Asterisk is configured there is no live database.
        live = "asterisk-live" in rule.sources()
        assert rule.rule["execErrState"] == ("OK" if live else "Error")
        assert not live or rule.sources() == {"asterisk-live"}
        assert rule.rule["condition"] == rule.rule["data"][-1]["refId"]


def test_a_summary_names_only_nodes_of_its_rule_that_have_one_number() -> None:
    for rule in provisioned():
        summary = rule.rule["annotations"]["summary"]
        numbers = {
            node["refId"] for node in rule.rule["data"] if node["model"].get("type") == "reduce"
        }
        assert set(re.findall(r"\.Values\.(\w+)", summary)) <= numbers
        # Some versions of Grafana put environment variables into annotations.
        assert "$" not in summary
        assert summary.count("{{") == summary.count("}}")


def test_every_node_uses_only_nodes_before_it() -> None:
    for rule in provisioned():
        seen: set[str] = set()
        for node in rule.rule["data"]:
            text = json.dumps(node["model"].get("expression", ""))
            names = (
                {node["model"]["expression"]}
                if node["model"].get("type") == "reduce"
                else set(re.findall(r"\$(\w+)", text))
            )
            assert names <= seen
            assert node["refId"] not in seen
            assert node["model"]["refId"] == node["refId"]
            seen.add(node["refId"])


def test_every_metric_in_an_alert_is_declared() -> None:
    text = json.dumps([rule.rule["data"] for rule in provisioned()])
    assert set(re.findall(r"collector_\w+", text)) <= metric_names()


def test_every_name_in_the_influxql_of_an_alert_is_in_the_schema() -> None:
    asked = 0
    for rule in provisioned():
        for node in rule.rule["data"]:
            if "query" in node["model"]:
                asked += 1
                assert not unknown_names(node["model"]["query"]), rule.title
                assert "$timeFilter" in node["model"]["query"]
    assert asked > 30


def test_a_fleet_under_twenty_is_below_every_threshold() -> None:
    assert alerts.FLEET_LEAST == 20
    fast = provisioned()[1].rule["data"][-1]["model"]["expression"]
    assert provisioned()[1].title == "NodesDropFast"
    # Of 19 servers all may be expected in the same three hours, and none come.
    nodes = {
        "under": [number(1)],
        "expected": [number(16)],
        "reports": [number(0)],
    }
    assert computed(fast, nodes)[0].value == 0


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7),
        ("2 * 3 ** 2", 18),
        ("(1 + 2) * 3", 9),
        ("1 < 2 && 2 < 1", 0),
        ("1 < 2 || 2 < 1", 1),
        ("$a - $b > 4 * ($b ** 0.5)", 1),
    ],
)
def test_math_is_read_as_grafana_reads_it(expression: str, value: float) -> None:
    assert computed(expression, {"a": [number(30)], "b": [number(9)]})[0].value == value


def test_math_joins_by_labels_and_no_data_stays_no_data() -> None:
    left = [number(1, frozenset({("tag", "a")})), number(2, frozenset({("tag", "b")}))]
    right = [number(10, frozenset({("tag", "b")}))]
    assert [(i.value, dict(i.labels)) for i in computed("$l + $r", {"l": left, "r": right})] == [
        (12, {"tag": "b"})
    ]
    assert [i.value for i in computed("$l + 1", {"l": left})] == [2, 3]
    assert computed("$l + $r", {"l": left, "r": []}) == []
    rows = [series(frozenset(), {1: 4.0, 2: 6.0})]
    halves = computed("$a / $b", {"a": rows, "b": [series(frozenset(), {2: 3.0})]})
    assert halves[0].points == {2: 2.0}
    assert reduced(rows, "max")[0].value == 6
    assert math.isnan(computed("$a / 0", {"a": [number(0)]})[0].value)
