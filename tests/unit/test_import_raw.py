"""Timestamps of imported reports, and what marks them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.history.asl3_raw import (
    INSTANCE,
    DayReports,
    SecondStamper,
    StoredReport,
    imported_lines,
)
from collector.history.asl3_rows import OldNode, OldReport, Skipped
from collector.outbox import Entry
from collector.privacy import ServerPseudonym

SECOND = 1_795_000_000 * 10**9
ASKS = st.lists(st.tuples(st.integers(0, 999_999), st.integers(1, 501)), max_size=30)


@given(asks=ASKS)
def test_timestamps_of_a_second_are_in_it_and_each_its_own(asks: list[tuple[int, int]]) -> None:
    stamper = SecondStamper()
    given_out = [
        stamp for slot, count in asks for stamp in stamper.take(SECOND + slot * 1000, count)
    ]
    assert len(set(given_out)) == len(given_out) == sum(count for _, count in asks)
    assert all(stamp // 10**9 == SECOND // 10**9 for stamp in given_out)
    assert all(stamp % 1000 == INSTANCE for stamp in given_out)


def test_place_wanted_is_given_whatever_came_before() -> None:
    stamper = SecondStamper()
    stamper.take(SECOND + 5 * 10**9, 3)
    assert list(stamper.take(SECOND + 7000, 2)) == [SECOND + 7999, SECOND + 8999]
    assert list(stamper.take(SECOND + 6000, 2)) == [SECOND + 9999, SECOND + 10999]


def test_what_exists_is_not_given_away() -> None:
    stamper = SecondStamper()
    stamper.hold(SECOND + 7999, 3)
    assert stamper.take(SECOND + 5000, 3)[0] == SECOND + 10_999


def test_last_places_of_a_second_lead_to_its_first() -> None:
    stamper = SecondStamper()
    assert stamper.take(SECOND + 999_999_000, 2)[0] == SECOND + INSTANCE


def test_full_second_is_an_error() -> None:
    stamper = SecondStamper()
    stamper.hold(SECOND, 999_999)
    with pytest.raises(ValueError, match="no room"):
        stamper.take(SECOND, 2)
    assert len(stamper.take(SECOND, 1)) == 1


def test_marks_are_added_and_nothing_else_changes() -> None:
    lines = (
        b'server_report,arch=a server="s",kernel=",registration=none x" 1999\n'
        b'node_report,arch=a\\,registration\\=none,registration=none,release=r node="n" 2999'
    )
    entry = Entry(1, ServerPseudonym("s"), 2, lines)
    assert imported_lines(entry) == (
        b'server_report,arch=a server="s",kernel=",registration=none x",imported=1i 1999\n'
        b'node_report,arch=a\\,registration\\=none,registration=unknown,release=r node="n" 2999'
    )


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        ((), None),
        ((SECOND, "s", True), Skipped.ALREADY_IMPORTED),
        ((SECOND + 10**9, "s", True), Skipped.ALREADY_IMPORTED),
        ((SECOND + 2 * 10**9, "s", True), None),
        ((SECOND, "other", True), None),
        ((SECOND + 10**13, "s", False), Skipped.REPORTED_TO_US),
        ((SECOND, "other", False), None),
    ],
)
def test_report_that_is_there_is_not_brought_again(
    stored: tuple[int, str, bool] | tuple[()], why: Skipped | None
) -> None:
    there = DayReports(*([StoredReport(stored[0], stored[1], 1, stored[2])] if stored else []))
    node = OldNode("u", 2000, SECOND // 10**9, {}, {})
    assert there.skip_reason("s", OldReport((node,))) is why
