"""Every query of the dashboards of Asterisk against an InfluxDB that holds every series."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from collector.schema.live import CHANNELS, PJSIP_CONTACTS, STATSD_GAUGE
from tests.conftest import InfluxServer
from tests.live_points import ASTERISKS, EVERY_S, lines, live_measurements, value
from tests.unit.test_dashboards import telegraf
from tools.dashboards.asked import OPS, Json, Query, Span, boards, chosen, filled, queries

UNTIL = 1_772_000_000
SINCE = UNTIL - 20 * 60
UNSURE = range(UNTIL - 300, UNTIL)
SPAN = Span(SINCE * 1000, UNTIL * 1000 - 1)
LAST = UNTIL - EVERY_S
BOARDS = [board for board in boards(OPS) if board["tags"] == ["asterisk"]]


@dataclass(frozen=True)
class Live:
    """A database with 20 minutes of two Asterisks, in the last five of which gauges are unsure."""

    server: InfluxServer
    name: str

    def ask(self, text: str, variables: Mapping[str, str], span: Span = SPAN) -> Any:
        return self.server.query(filled(text, variables, span, "10s"), self.name)


@pytest.fixture(scope="module")
def live(influx_server: InfluxServer) -> Iterator[Live]:
    name = f"l{secrets.token_hex(6)}_asterisk_live"
    influx_server.create(name)
    for measurement in live_measurements():
        influx_server.write(name, "\n".join(lines(measurement, SINCE, UNTIL, unsure=UNSURE)))
    influx_server.write(name, "\n".join(host_lines()))
    yield Live(influx_server, name)
    influx_server.drop(name)


def host_lines() -> Iterator[str]:
    """What Telegraf writes of both hosts."""
    for measurement, words in telegraf().items():
        tags = words & {"path", "interface", "name"}
        key = "".join(f",{tag}=one" for tag in sorted(tags))
        fields = sorted(words - tags - {"asterisk"})
        for asterisk in ASTERISKS:
            for second in range(SINCE, UNTIL, EVERY_S):
                numbers = ",".join(f"{field}={second - SINCE}" for field in fields)
                yield f"{measurement},asterisk={asterisk}{key} {numbers} {second}000000000"


def panel(board: Json, title: str) -> list[Query]:
    found = [query for query in queries(board) if query.panel == title]
    assert found, title
    return found


def test_every_query_of_every_panel_returns_rows_for_all_and_for_one(live: Live) -> None:
    for board in BOARDS:
        everything = chosen(board)
        for query in queries(board):
            if query.source == "prometheus":
                continue
            rows = live.ask(query.text, everything)
            assert rows, str(query)
            assert len(rows) < 20_000, str(query)
            one = live.ask(query.text, everything | {"asterisk": "call.centre"})
            assert one, str(query)
            assert {row["asterisk"] for row in one if "asterisk" in row} <= {"call.centre"}
            # A dot is a dot, and no other name fits.
            assert not live.ask(query.text, everything | {"asterisk": "callXcentre"}), str(query)


def test_variables_offer_what_is_stored(live: Live) -> None:
    for board in BOARDS:
        for variable in board["templating"]["list"]:
            assert live.ask(variable["query"], {}), variable["name"]
        first = live.ask(board["templating"]["list"][0]["query"], {})
        assert {row["value"] for row in first} == set(ASTERISKS)


def test_numbers_of_now_are_the_last_values_summed_over_the_chosen_asterisks(live: Live) -> None:
    (board,) = (each for each in BOARDS if each["uid"] == "asterisk-live")
    for title, measurement in (
        ("Channels now", CHANNELS),
        ("Contacts reachable", PJSIP_CONTACTS),
        ("Contacts lost", PJSIP_CONTACTS),
    ):
        (query,) = panel(board, title)
        ((row),) = live.ask(query.text, chosen(board))
        assert row["sum"] == sum(value(measurement, each, LAST) for each in ASTERISKS)
        ((row),) = live.ask(query.text, {"asterisk": "office"})
        assert row["sum"] == value(measurement, "office", LAST)
        # Two minutes after its last point an Asterisk has no number of now.
        later = Span(SPAN.since, SPAN.until + 130_000)
        assert not live.ask(query.text, chosen(board), later), title


def test_what_may_be_wrong_is_drawn_apart_for_as_long_as_it_may_be(live: Live) -> None:
    (board,) = (each for each in BOARDS if each["uid"] == "asterisk-live")
    for title, measurement in (
        ("Channels, by Asterisk", CHANNELS),
        ("Gauges of the dialplan: $gauge", STATSD_GAUGE),
    ):
        sure, unsure = (live.ask(each.text, chosen(board)) for each in panel(board, title))
        column = "last"
        drawn = {
            (row["asterisk"], row["time"] // 10**9): row[column]
            for row in unsure
            if row[column] is not None
        }
        assert {second for _, second in drawn} == set(UNSURE[::EVERY_S])
        whole = {(row["asterisk"], row["time"] // 10**9): row[column] for row in sure}
        assert drawn.items() <= whole.items()
        for (asterisk, second), number in whole.items():
            assert number == value(measurement, asterisk, second)


@pytest.fixture
def told(influx_server: InfluxServer) -> Iterator[Live]:
    """A database of one flush: a busy queue, an idle one, a trunk of which half the calls fail."""
    name = f"l{secrets.token_hex(6)}_asterisk_live"
    influx_server.create(name)
    quiet = "answered=0i,abandoned=0i,abandoned_within=0i,within=0i"
    busy = "answered=10i,abandoned=4i,abandoned_within=2i,within=9i"
    tags = "asterisk=office,direction=out,trunk=provider"
    points = (
        f"queues,asterisk=office,queue=support waiting=3i,longest_wait=42,available=0i,{busy}",
        f"queues,asterisk=branch,queue=support waiting=1i,longest_wait=70,available=2i,{quiet}",
        f"queues,asterisk=office,queue=sales waiting=0i,longest_wait=0,available=1i,{quiet}",
        "agents,asterisk=office,queue=support,state=in_use count=4i",
        "agents,asterisk=office,queue=support,state=paused count=2i",
        'agents,asterisk=office,queue=support,agent=anna status="in_use",answered=3i',
        f"calls,{tags} calls=5i,channels=10i,started=8i,answered=2i,talks=2i,talk_sum=90",
        f"calls,{tags},outcome=failed,cause=34,tech_cause=503 ended=2i,attempts=3i",
        f"calls,{tags},outcome=answered,cause=16,tech_cause=none ended=2i,attempts=3i",
        "trunks,asterisk=office,trunk=provider up=0i",
        "trunks,asterisk=office,trunk=spare up=1i",
        "ami_traffic,asterisk=office connected=1i",
        "ami_traffic,asterisk=branch connected=0i",
    )
    influx_server.write(name, "\n".join(f"{line} {LAST}000000000" for line in points))
    yield Live(influx_server, name)
    influx_server.drop(name)


def number(live: Live, board: str, title: str) -> dict[str, float]:
    """The number of each tile of a panel, by queue, or by `` where there is one."""
    (found,) = (each for each in BOARDS if each["uid"] == board)
    (query,) = panel(found, title)
    tiles = {}
    for row in live.ask(query.text, chosen(found)):
        (value,) = (row[key] for key in row if key not in ("time", "queue"))
        tiles[row.get("queue", "")] = value
    return tiles


def test_the_wallboard_shows_each_queue_as_it_is(told: Live) -> None:
    board = "asterisk-queues"
    assert number(told, board, "Callers waiting now") == {"support": 4, "sales": 0}
    assert number(told, board, "Longest wait now") == {"support": 70, "sales": 0}
    assert number(told, board, "Agents free now") == {"support": 2, "sales": 1}
    assert number(told, board, "Agents at work now") == {"support": 4}
    assert number(told, board, "Callers who gave up, last hour") == {"support": 4, "sales": 0}
    levels = number(told, board, "Service level, last hour")
    assert levels["support"] == pytest.approx(9 / (10 + 4 - 2))
    # Nobody called: that is no bad service.
    assert levels.get("sales") is None
    (found,) = (each for each in BOARDS if each["uid"] == board)
    (query,) = panel(found, "Agents by name")
    ((row),) = told.ask(query.text, chosen(found))
    assert (row["agent"], row["status"], row["answered"]) == ("anna", "in_use", 3)


def test_numbers_of_calls_and_trunks_are_those_that_were_stored(told: Live) -> None:
    assert number(told, "asterisk-calls", "Calls now") == {"": 5}
    assert number(told, "asterisk-calls", "Answered, 1 h") == {"": 0.25}
    assert number(told, "asterisk-calls", "Mean talk, 1 h") == {"": 45}
    assert number(told, "asterisk-calls", "Failed, 1 h") == {"": 2}
    assert number(told, "asterisk-calls", "AMI not logged in") == {"": 1}
    assert number(told, "asterisk-quality", "Trunks down") == {"": 1}
    assert number(told, "asterisk-quality", "Calls out failed") == {"": 0.5}
