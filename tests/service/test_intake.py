"""Reports over HTTP to a real collector, and what of them is in a real InfluxDB.

Everything is posted before the first test, so that the writer's pauses are waited for once.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.asl_cases import ACCEPTED, REFUSED, body_of, expected, sender_of
from tests.conftest import Databases, InfluxServer, Row, Serve
from tests.sender import Reply, encoded, eventually, metric, post, report, server_name

MEASUREMENTS = ("server_report", "node_report")
NASTY = {
    "comma": ("a,arch=evil", "a,arch=evil"),
    "equals": ("a=b", "a=b"),
    "space": ("a b", "a b"),
    "quote": ('a"b', 'a"b'),
    "backslash": ("a\\b", "a/b"),
    "backslash-at-the-end": ("a\\", "a/"),
    "backslash-comma": ("a\\,b", "a/,b"),
    "newline": ("a\nnode_report,arch=evil node=1i 1", "a node_report,arch=evil node=1i 1"),
    "escaped-newline": ("a\\nb", "a/nb"),
    "carriage-return": ("a\r\nb", "a b"),
    "nul": ("a\x00b", "a b"),
    "right-to-left": ("a\u202eb\u200fc", "a b c"),
    "line-separator": ("a\u2028b", "a b"),
    "delete-and-escape": ("a\x7f\x1b[31mb", "a [31mb"),
    "hash": ("#a", "#a"),
    "template": ("{{a}} ${b} %s", "{{a}} ${b} %s"),
    "accent": ("zoë", "zoë"),
}
TEXTS = ("distro", "release", "arch", "kernel")


def nasty_server(kind: str) -> str:
    return f"5f0e2d1c-0000-4000-9000-{list(NASTY).index(kind):012x}"


def nasty_report(kind: str) -> bytes:
    text, _ = NASTY[kind]
    texts = dict.fromkeys(TEXTS, text) | {"nodes-channels": {"2001": text}, "pkgs": {text: text}}
    return encoded(report([2001], nasty_server(kind)) | texts)


@pytest.fixture(scope="module")
def answers(collector: Serve, module_databases: Databases) -> dict[str, Reply]:
    """The answer to each accepted case and nasty report, once InfluxDB has them all."""
    posted = {case.stem: post(collector.url, body_of(case)) for case in ACCEPTED}
    posted |= {kind: post(collector.url, nasty_report(kind)) for kind in NASTY}
    server = module_databases.server
    eventually(lambda: server.count(module_databases.raw, "server_report", "nodes") >= len(posted))
    return posted


def points(databases: Databases, server: str) -> list[Row]:
    """All that InfluxDB holds of a server, oldest first, each with its measurement."""
    return rows(databases, f""""server" = '{server}'""")


def rows(databases: Databases, where: str) -> list[Row]:
    found = [
        {"measurement": name, **row}
        for name in MEASUREMENTS
        for row in databases.server.query(f'SELECT * FROM "{name}" WHERE {where}', databases.raw)
    ]
    return sorted(without_nulls(found), key=lambda row: int(row["time"]))


def written_by_hand(databases: Databases, lines: list[str], times: list[int]) -> list[Row]:
    """What InfluxDB makes of these lines at these times, in a database of their own."""
    by_hand = Databases(databases.server, f"{databases.prefix}byhand_")
    if by_hand.raw not in databases.server.databases():
        databases.server.create(by_hand.raw)
    placed = [line.replace("<time>", str(at)) for line, at in zip(lines, times, strict=True)]
    databases.server.write(by_hand.raw, "\n".join(placed))
    return rows(by_hand, f"time >= {times[0]} AND time <= {times[-1]}")


def without_nulls(rows: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.stem)
def test_body_is_answered_with_what_became_of_its_nodes(
    answers: dict[str, Reply], case: Path
) -> None:
    reply, _ = expected(case)
    answer = answers[case.stem]
    assert (answer.status, answer.json) == (200, {"status": "accepted", **reply})
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.stem)
def test_body_ends_as_the_expected_points(module_databases: Databases, case: Path) -> None:
    _, lines = expected(case)
    found = points(module_databases, server_name(sender_of(body_of(case))))
    times = [int(row["time"]) for row in found]
    assert len(set(times)) == len(lines)
    assert found == written_by_hand(module_databases, lines, times)


@pytest.mark.usefixtures("answers")
def test_fields_have_the_types_of_the_schema(
    module_databases: Databases, influx_server: InfluxServer
) -> None:
    kinds = {
        (row["fieldKey"], row["fieldType"])
        for row in influx_server.query("SHOW FIELD KEYS", module_databases.raw)
    }
    assert kinds == {
        ("server", "string"),
        ("node", "string"),
        ("kernel", "string"),
        ("packages", "string"),
        ("nodes", "integer"),
        ("nodes_http", "integer"),
        ("nodes_iax", "integer"),
        ("uptime", "integer"),
        ("reload_age", "integer"),
    }


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.stem)
def test_refusal_is_a_problem_with_one_word_everywhere(collector: Serve, case: Path) -> None:
    reason = case.read_text().strip()
    counted = metric(collector.metrics_url, "collector_reports_total", intake="asl", outcome=reason)
    logged = collector.logs().count(f"reason={reason}")
    answer = post(collector.url, body_of(case))
    assert (answer.status, answer.reason) == (400, reason)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "retry-after" not in answer.headers
    assert answer.json["status"] == 400
    again = metric(collector.metrics_url, "collector_reports_total", intake="asl", outcome=reason)
    assert again == counted + 1
    eventually(lambda: collector.logs().count(f"reason={reason}") == logged + 1)


@pytest.mark.parametrize("kind", NASTY)
def test_text_is_stored_cleaned(
    answers: dict[str, Reply], module_databases: Databases, kind: str
) -> None:
    sent, clean = NASTY[kind]
    assert answers[kind].status == 200
    of_server, of_node = points(module_databases, server_name(nasty_server(kind)))
    assert {name: of_server[name] for name in TEXTS} == dict.fromkeys(TEXTS, clean)
    assert json.loads(of_server["packages"]) == {sent: sent}
    assert (of_node["channel"], of_node["arch"]) == (clean, clean)


@pytest.mark.usefixtures("answers")
def test_no_text_makes_a_measurement_or_tag_of_its_own(module_databases: Databases) -> None:
    def names(statement: str, column: str) -> Counter[str]:
        found = module_databases.server.query(statement, module_databases.raw)
        return Counter(row[column] for row in found)

    server_tags = ["asterisk_version", "asl_version", "distro", "release", "arch"]
    assert names("SHOW MEASUREMENTS", "name") == Counter(MEASUREMENTS)
    assert names("SHOW TAG KEYS", "tagKey") == Counter(
        [*server_tags * 2, "channel", "registration"]
    )


def test_path_with_a_proxys_prefix_left_on_is_taken(collector: Serve) -> None:
    assert post(collector.url, encoded(report([2001])), path="/usage/usage").status == 200
