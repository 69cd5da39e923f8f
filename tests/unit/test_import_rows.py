"""What rows of an ASL3-Usage database mean."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, date
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.history.asl3_dump import Row
from collector.history.asl3_rows import (
    Gap,
    OldDay,
    OldNode,
    Skipped,
    TableError,
    last_of_each_day,
    old_day,
    old_node,
    old_reports,
)
from collector.schema import CHANNEL_FIELDS, DAILY_USAGE

UUID = "3f0e6c0e-6f0c-4c0f-9a86-6d6a3a1b0c11"


def usage_row(**changes: str | None) -> Row:
    row: Row = {
        "id": "1",
        "record_count": "4210",
        "server_count": "3480",
        "ast_count": "9",
        "asl_count": "14",
        "node_count": "4210",
        "dahdi_count": "120",
        "simpleusb_count": "2900",
        "usbradio_count": "610",
        "voter_count": "140",
        "radio_count": "0",
        "collected_time": "2026-11-20 00:00:00",
    }
    return row | changes


def node_row(**changes: str | None) -> Row:
    row: Row = {
        "uuid": UUID,
        "astversion": "22.2.0",
        "aslversion": "asl3-3.3.0",
        "aslpkgver": "1.deb12",
        "node": "51234",
        "uptime": "864000",
        "reloadtime": "3600",
        "channeltype": "Radio",
        "os": "Linux",
        "distro": "Debian",
        "relver": "12",
        "kernel": "6.1.0-31-amd64",
        "arch": "amd64",
        "pkglist": '{"asl3": "3.5.1-1.deb12"}',
        "repdate": "2026-11-22 01:44:39",
        "fullastver": "Asterisk 22.2.0+asl3-3.3.0-1.deb12",
    }
    return row | changes


def a_day(**changes: str | None) -> OldDay:
    day = old_day(usage_row(**changes))
    assert isinstance(day, OldDay)
    return day


def a_node(**changes: str | None) -> OldNode:
    node = old_node(node_row(**changes), UTC)
    assert isinstance(node, OldNode)
    return node


def test_row_keeps_the_date_under_which_the_old_server_printed_it() -> None:
    assert a_day().day == date(2026, 11, 20)
    assert a_day(collected_time="2026-11-20 23:59:59.5").day == date(2026, 11, 20)
    assert a_day(collected_time="2026-11-20").day == date(2026, 11, 20)


def test_fields_are_those_of_the_schema_and_marked() -> None:
    fields = a_day().fields(5)
    assert fields == {
        "reports": 4210,
        "servers": 3480,
        "nodes": 4210,
        "asterisk_versions": 9,
        "asl_versions": 14,
        "dahdi": 120,
        "simpleusb": 2900,
        "usbradio": 610,
        "voter": 140,
        "other_channels": 440,
        "final": 1,
        "imported": 1,
    }
    assert fields.keys() <= {field.name for field in DAILY_USAGE.fields}


def test_radio_count_is_no_part_of_usbradio() -> None:
    with_radio = a_day(radio_count="30").fields(1)
    without = usage_row()
    del without["radio_count"]
    day = old_day(without)
    assert isinstance(day, OldDay)
    assert with_radio == day.fields(1) == a_day().fields(1)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"collected_time": "0000-00-00 00:00:00"}, Skipped.ZERO_DATE),
        ({"collected_time": "2026-00-11 00:00:00"}, Skipped.BAD_DATE),
        ({"collected_time": "1969-12-31 00:00:00"}, Skipped.BAD_DATE),
        ({"collected_time": ""}, Skipped.BAD_DATE),
        ({"collected_time": None}, Skipped.NULL_VALUE),
        ({"node_count": None}, Skipped.NULL_VALUE),
        ({"node_count": "-1"}, Skipped.BAD_NUMBER),
        ({"voter_count": "many"}, Skipped.BAD_NUMBER),
        ({"voter_count": "9" * 30}, Skipped.BAD_NUMBER),
    ],
)
def test_day_of_odd_values_is_passed_over(changes: Row, why: Skipped) -> None:
    assert old_day(usage_row(**changes)) is why


def test_last_row_of_a_date_counts() -> None:
    days = [
        a_day(collected_time="2026-11-21 00:00:00", node_count="9000"),
        a_day(collected_time="2026-11-20 14:00:00", node_count="8000"),
        a_day(collected_time="2026-11-20 00:00:00", node_count="7000"),
    ]
    for order in itertools.permutations(days):
        found = last_of_each_day(order)
        assert [(day.day.day, day.counts["nodes"]) for day in found] == [(20, 8000), (21, 9000)]


def test_channels_of_another_moment_than_the_nodes_are_left_out() -> None:
    fields = a_day(node_count="3769", record_count="3769").fields(5)
    assert fields["other_channels"] == fields["nodes"] == 3769
    assert not fields.keys() & set(CHANNEL_FIELDS)


@pytest.mark.parametrize(
    ("channels", "nodes", "k", "shown"),
    [
        # A channel under k is in `other_channels`, and another with it if they'd be under k still.
        ((3, 100, 50, 20), 173, 5, {"simpleusb": 100, "usbradio": 50, "other_channels": 23}),
        ((3, 100, 50, 20), 173, 1, {"dahdi": 3, "simpleusb": 100, "usbradio": 50, "voter": 20}),
        ((3, 4, 50, 20), 77, 5, {"usbradio": 50, "voter": 20, "other_channels": 7}),
        # Nodes on channels without a column are hidden in the smallest that has one.
        ((10, 100, 50, 20), 182, 5, {"simpleusb": 100, "usbradio": 50, "voter": 20}),
        ((0, 100, 0, 0), 100, 5, {"dahdi": 0, "simpleusb": 100, "usbradio": 0, "voter": 0}),
        ((1, 1, 1, 0), 3, 5, {"other_channels": 3}),
        ((0, 0, 0, 0), 0, 5, {"dahdi": 0, "other_channels": 0}),
    ],
)
def test_small_channels_are_hidden_as_the_rollup_hides_them(
    channels: tuple[int, int, int, int], nodes: int, k: int, shown: dict[str, int]
) -> None:
    fields = fields_of(channels, nodes, k)
    assert shown.items() <= fields.items()
    assert fields["other_channels"] == nodes - sum(fields.get(name, 0) for name in CHANNEL_FIELDS)


def fields_of(channels: tuple[int, ...], nodes: int, k: int) -> dict[str, int]:
    counts = {f"{n}_count": str(c) for n, c in zip(CHANNEL_FIELDS, channels, strict=True)}
    return a_day(**counts, node_count=str(nodes)).fields(k)


@given(channels=st.tuples(*[st.integers(0, 12)] * 4), rest=st.integers(0, 12), k=st.integers(2, 6))
def test_no_published_channel_count_isolates_fewer_than_k_nodes(
    channels: tuple[int, ...], rest: int, k: int
) -> None:
    nodes = sum(channels) + rest
    fields = fields_of(channels, nodes, k)
    shown = {name: fields[name] for name in CHANNEL_FIELDS if name in fields}
    other = fields["other_channels"]
    assert all(count == 0 or count >= k for count in shown.values())
    assert other == 0 or other >= k or nodes < k
    assert other + sum(shown.values()) == nodes
    # Nothing shown is untrue.
    truth = dict(zip(CHANNEL_FIELDS, channels, strict=True))
    assert all(count == truth[name] for name, count in shown.items())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"uuid": None}, Skipped.NULL_VALUE),
        ({"node": None}, Skipped.NULL_VALUE),
        ({"repdate": None}, Skipped.NULL_VALUE),
        ({"uuid": "not a uuid"}, Skipped.BAD_UUID),
        ({"uuid": UUID + "\n"}, Skipped.BAD_UUID),
        ({"node": "x"}, Skipped.BAD_NUMBER),
        ({"node": "-51234"}, Skipped.BAD_NUMBER),
        ({"node": "1999"}, Skipped.PRIVATE),
        ({"repdate": "0000-00-00 00:00:00"}, Skipped.ZERO_DATE),
        ({"repdate": "2026-11-31 00:00:00"}, Skipped.BAD_DATE),
        ({"repdate": "2026-11-21T00:00:00+01:00"}, Skipped.BAD_DATE),
    ],
)
def test_node_of_odd_values_is_passed_over(changes: Row, why: Skipped) -> None:
    assert old_node(node_row(**changes), UTC) is why


@pytest.mark.parametrize(
    ("changes", "gaps"),
    [
        ({}, []),
        ({"channeltype": "Zapata"}, []),
        ({"channeltype": ""}, [Gap.NO_CHANNEL]),
        ({"channeltype": None}, [Gap.NO_CHANNEL]),
        ({"pkglist": "{"}, [Gap.BAD_PACKAGES]),
        ({"pkglist": None}, [Gap.BAD_PACKAGES]),
        ({"pkglist": "[]"}, [Gap.BAD_PACKAGES]),
        ({"pkglist": '{"asl3": {}}'}, [Gap.BAD_PACKAGES]),
        ({"pkglist": "[" * 100_000}, [Gap.BAD_PACKAGES]),
        ({"pkglist": "x", "channeltype": ""}, [Gap.NO_CHANNEL, Gap.BAD_PACKAGES]),
    ],
)
def test_node_with_gaps_is_taken(changes: Row, gaps: list[Gap]) -> None:
    assert list(a_node(**changes).gaps) == gaps


def body(*nodes: OldNode) -> dict[str, Any]:
    [report] = old_reports(nodes)
    found = json.loads(report.body())
    assert isinstance(found, dict)
    return found


def test_rows_of_a_server_become_the_body_that_it_sent() -> None:
    found = body(a_node(node="51235", channeltype="Voter"), a_node(uuid=UUID.upper()))
    assert found == {
        "uuid": UUID,
        "ast-ver": "Asterisk 22.2.0+asl3-3.3.0-1.deb12",
        "nodes": [51234, 51235],
        "nodes-channels": {"51234": "Radio", "51235": "Voter"},
        "uptime": "864000",
        "reload-time": "3600",
        "distro": "Debian",
        "release": "12",
        "kernel": "6.1.0-31-amd64",
        "arch": "x86_64",
        "pkgs": {"asl3": "3.5.1-1.deb12"},
    }


@pytest.mark.parametrize(
    ("arch", "name"),
    [("amd64", "x86_64"), ("arm64", "aarch64"), ("armv7l", "armv7l"), ("", ""), (None, None)],
)
def test_arch_is_named_as_uname_does(arch: str | None, name: str | None) -> None:
    assert body(a_node(arch=arch))["arch"] == name


def test_rows_seconds_apart_are_reports_of_their_own() -> None:
    rows = [
        a_node(node="2001", repdate="2026-11-22 01:44:39"),
        a_node(node="2000", repdate="2026-11-22 01:44:40"),
        a_node(node="2002", repdate="2026-11-22 01:44:42"),
        a_node(node="2003", repdate="2026-11-22 01:44:39", uuid=UUID.replace("3", "4")),
    ]
    for order in itertools.permutations(rows):
        found = [(r.second % 60, [n.node for n in r.nodes]) for r in old_reports(order)]
        assert found == [(39, [2003]), (40, [2000, 2001]), (42, [2002])]


def test_times_are_of_the_old_servers_zone() -> None:
    node = old_node(node_row(repdate="2026-07-01 00:30:00"), ZoneInfo("America/Chicago"))
    assert isinstance(node, OldNode)
    assert node.written_s == a_node(repdate="2026-07-01 05:30:00").written_s


@pytest.mark.parametrize("column", ["node_count", "collected_time", "repdate", "pkglist"])
def test_table_of_another_program_is_named_with_what_it_lacks(column: str) -> None:
    usage, node = usage_row(), node_row()
    usage.pop(column, None)
    node.pop(column, None)
    with pytest.raises(TableError, match=column):
        (old_day(usage), old_node(node, UTC))
