from __future__ import annotations

from itertools import pairwise

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from collector.rollup.facts import Rows, gather
from collector.schema import NODE_REPORT, SERVER_REPORT
from tests.days import One, answer, day, node_rows, server_rows

AWKWARD = (
    One((1, 2), distro='Deb"ian, "12"', release=""),
    One((2**64 - 1,), hour=23, arch="", channel="a,b", asl="null"),
    One((3,), hour=5, asterisk='"', release=" 1 2 ", registration="none"),
)


def as_rows(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    return frame.rows()


def sorted_rows(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    return sorted(frame.rows())


@given(st.lists(st.integers(0, 700), max_size=12))
def test_an_answer_cut_anywhere_gives_the_same_rows(cuts: list[int]) -> None:
    text = answer(NODE_REPORT, node_rows(AWKWARD))
    whole = Rows(NODE_REPORT).add(text).frame()
    pieces = Rows(NODE_REPORT)
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    for first, last in pairwise(places):
        pieces.add(text[first:last])
    assert as_rows(pieces.frame()) == as_rows(whole)


def test_values_are_read_as_labels_and_an_empty_tag_as_unknown() -> None:
    frame = Rows(NODE_REPORT).add(answer(NODE_REPORT, node_rows(AWKWARD))).frame()
    assert frame["node"].to_list() == [1, 2, 2**64 - 1, 3]
    assert frame["hour"].to_list() == [0, 0, 23, 5]
    assert frame["distro"].to_list()[0] == 'Deb"ian, "12"'
    assert frame["release"].to_list() == ["unknown", "unknown", "12", "1 2"]
    assert frame["arch"].to_list()[2] == "unknown"
    assert frame["asl_version"].to_list()[2] == "null"
    assert frame["asterisk_version"].to_list()[3] == '"'


def test_commits_that_were_stored_are_read_as_the_name_of_their_tree() -> None:
    stored = ("GIT-master-a1b2c3d", "GIT-18-0123456", "SVN-trunk-r1", "UNKNOWN__x", "20.7.0")
    reports = [One((n,), asterisk=build) for n, build in enumerate(stored)]
    for measurement, rows in (
        (NODE_REPORT, node_rows(reports)),
        (SERVER_REPORT, server_rows(reports)),
    ):
        frame = Rows(measurement).add(answer(measurement, rows)).frame()
        assert frame["asterisk_version"].to_list() == ["GIT", "GIT", "SVN", "unknown", "20.7.0"]


def test_no_answer_at_all_is_a_day_without_reports() -> None:
    nothing = gather(Rows(NODE_REPORT).add(b"").frame(), Rows(SERVER_REPORT).add(b"").frame())
    assert (nothing.tables.reports, nothing.tables.node_reports) == (0, 0)
    assert (nothing.tables.nodes, nothing.tables.servers) == (0, 0)


def test_a_server_report_without_packages_has_an_empty_set() -> None:
    rows = [[*row[:-1], ""] for row in server_rows([One((1,))])]
    frame = Rows(SERVER_REPORT).add(answer(SERVER_REPORT, rows)).frame()
    assert frame["packages"].to_list() == ["{}"]


def test_a_unit_counts_once_as_its_last_report_describes_it() -> None:
    facts = day(
        One((1, 2), server=1, arch="armv7l", channel="voter"),
        One((2, 3), server=2, hour=7, channel="dahdi"),
        One((1,), server=1, hour=9, arch="aarch64", channel="usrp"),
    )
    assert (facts.tables.reports, facts.tables.node_reports) == (3, 5)
    profiles = facts.tables.node_profiles.select("arch", "channel", "count")
    assert sorted_rows(profiles) == [("aarch64", "usrp", 1), ("x86_64", "dahdi", 2)]
    assert sorted_rows(facts.tables.server_profiles.select("arch", "count")) == [
        ("aarch64", 1),
        ("x86_64", 1),
    ]


def test_the_hours_of_a_unit_are_those_it_was_reported_in() -> None:
    facts = day(One((1, 2)), One((1,), hour=13), One((1,), hour=13), One((2,), server=2, hour=23))
    assert sorted_rows(facts.units.nodes.select("node", "hours")) == [
        (1, 1 | 1 << 13),
        (2, 1 | 1 << 23),
    ]
    assert sorted_rows(facts.units.servers) == [(1, 1 | 1 << 13), (2, 1 << 23)]
    assert sorted_rows(facts.tables.hourly) == [(0, 1, 2), (13, 2, 2), (23, 1, 1)]


def test_each_version_that_a_node_came_to_in_the_day_is_told_once() -> None:
    facts = day(
        One((1, 2), asl="asl3-1"),
        One((1,), hour=1, asl="asl3-2"),
        One((1,), hour=2, asl="asl3-2"),
        One((1,), hour=3, asl="asl3-1"),
        One((1,), hour=4, asl="asl3-3"),
        One((1,), hour=5, asl="asl3-2"),
        One((1,), hour=6, asl="asl3-3"),
    )
    assert sorted_rows(facts.units.moves.select(pl.all().cast(pl.String))) == [
        ("1", "asl3-1", "asl3-2"),
        ("1", "asl3-1", "asl3-3"),
    ]
    first_and_last = facts.units.nodes.select("node", pl.col("first", "last").cast(pl.String))
    assert sorted_rows(first_and_last) == [(1, "asl3-1", "asl3-3"), (2, "asl3-1", "asl3-1")]
