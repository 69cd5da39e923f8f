from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.lines import (
    LEAD_NS,
    NS_PER_DAY,
    REDATING_LANES,
    ReportStamper,
    Stamper,
    field_value,
    label,
    line,
    tag_set,
)
from collector.schema import LABEL_LENGTH

NOON = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()) * 10**9
MIDNIGHT = NOON + NS_PER_DAY // 2
TEN_MINUTES = 600 * 10**9


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        pytest.param("Debian", "Debian", id="plain"),
        pytest.param("", "unknown", id="empty"),
        pytest.param(" \t\n", "unknown", id="white space alone"),
        pytest.param("\x00\u202e", "unknown", id="unprintable alone"),
        pytest.param("  a  b ", "a b", id="runs of space"),
        pytest.param("a\r\nb", "a b", id="line ends"),
        pytest.param("a\u202eb", "a b", id="right to left override"),
        pytest.param("a\\", "a/", id="backslash at the end"),
        pytest.param("x" * 65, "x" * 64, id="cut to 64"),
        pytest.param("x" * 63 + " y", "x" * 63, id="no space where it was cut"),
        pytest.param("🐧", "🐧", id="beyond the basic plane"),
    ],
)
def test_label_is_cleaned(text: str, cleaned: str) -> None:
    assert label(text) == cleaned


@given(st.text(max_size=200))
def test_label_of_any_text_is_a_tag_value_that_line_protocol_can_say(text: str) -> None:
    cleaned = label(text)
    assert 1 <= len(cleaned) <= LABEL_LENGTH
    assert cleaned.isprintable()
    assert cleaned == cleaned.strip()
    assert "\\" not in cleaned
    assert label(cleaned) == cleaned


@pytest.mark.parametrize(
    ("tags", "written"),
    [
        pytest.param({}, "", id="none"),
        pytest.param({"b": "2", "a": "1"}, ",a=1,b=2", id="in order of name"),
        pytest.param({"a": "x,y"}, r",a=x\,y", id="comma"),
        pytest.param({"a": "x=y"}, r",a=x\=y", id="equals sign"),
        pytest.param({"a": "x y"}, r",a=x\ y", id="space"),
        pytest.param({"a": 'x"y'}, ',a=x"y', id="quote stays"),
    ],
)
def test_tags_are_escaped(tags: dict[str, str], written: str) -> None:
    assert tag_set(tags) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        pytest.param(0, "0i", id="zero"),
        pytest.param(-5, "-5i", id="negative"),
        pytest.param(True, "1i", id="bool is no InfluxDB bool"),
        pytest.param("a b,c=d", '"a b,c=d"', id="text"),
        pytest.param('a"b', r'"a\"b"', id="quote"),
        pytest.param("a\\", r'"a\\"', id="backslash"),
        pytest.param("", '""', id="empty text"),
    ],
)
def test_field_is_written_with_its_type(value: int | str, written: str) -> None:
    assert field_value(value) == written


def test_line_is_put_together() -> None:
    assert (
        line("node_report", ",arch=x86_64", {"node": "ab", "uptime": 3}, 17)
        == 'node_report,arch=x86_64 node="ab",uptime=3i 17'
    )


@given(
    st.lists(
        st.tuples(st.integers(NOON - NS_PER_DAY, NOON + NS_PER_DAY), st.integers(1, 600)),
        max_size=50,
    ),
    st.integers(0, 999),
)
def test_timestamps_rise_strictly_whatever_the_clock_says(
    calls: list[tuple[int, int]], instance: int
) -> None:
    stamper = Stamper(instance=instance)
    stamps = [stamp for now, count in calls for stamp in stamper.take(now, count)]
    assert all(a < b for a, b in pairwise(stamps))
    assert {stamp % 1000 for stamp in stamps} <= {instance}


@given(st.integers(MIDNIGHT - 10**7, MIDNIGHT + 10**7), st.integers(1, 600), st.integers(1, 600))
def test_points_of_a_report_share_a_utc_day(now: int, first: int, second: int) -> None:
    stamper = Stamper(instance=999)
    for count in (first, second):
        stamps = stamper.take(now, count)
        assert len(stamps) == count
        assert stamps[0] // NS_PER_DAY == stamps[-1] // NS_PER_DAY


def test_report_in_the_last_nanosecond_stays_in_its_day() -> None:
    stamps = Stamper(instance=1).take(MIDNIGHT - 1, 501)
    assert stamps[-1] < MIDNIGHT
    assert stamps[0] >= MIDNIGHT - 502_000


def test_report_at_midnight_begins_the_new_day() -> None:
    assert Stamper(instance=0).take(MIDNIGHT, 2)[0] == MIDNIGHT


def test_second_report_in_the_last_nanosecond_goes_whole_into_the_next_day() -> None:
    stamper = Stamper(instance=0)
    stamper.take(MIDNIGHT - 1, 2)
    stamps = stamper.take(MIDNIGHT - 1, 2)
    assert stamps[0] >= MIDNIGHT


def test_clock_set_back_ten_minutes_goes_on_from_the_last_timestamp() -> None:
    stamper = Stamper(instance=5)
    before = stamper.take(NOON, 3)
    after = stamper.take(NOON - TEN_MINUTES, 3)
    assert after[0] == before[-1] + 1000


def test_restart_with_the_clock_set_back_goes_on_after_the_last_timestamp() -> None:
    last = Stamper(instance=5).take(NOON, 3)[-1]
    assert Stamper(instance=5, last=last).take(NOON - TEN_MINUTES, 1)[0] > last


def test_restart_as_another_instance_goes_on_after_the_last_timestamp() -> None:
    last = Stamper(instance=999).take(NOON, 1)[-1]
    assert Stamper(instance=0, last=last).take(NOON, 1)[0] > last


def test_instances_never_share_a_timestamp() -> None:
    stamps = [
        stamp for instance in range(1000) for stamp in Stamper(instance=instance).take(NOON, 5)
    ]
    assert len(set(stamps)) == len(stamps)


@pytest.mark.parametrize("instance", [-1, 1000])
def test_instance_out_of_range_is_refused(instance: int) -> None:
    with pytest.raises(ValueError, match="0 to 999"):
        Stamper(instance=instance)


def _all_free(taken: list[range]) -> bool:
    stamps = [stamp for stamps in taken for stamp in stamps]
    return len(set(stamps)) == len(stamps)


JUMPS = st.lists(
    st.tuples(
        # Mostly a clock that goes on, and now and then one that is set.
        st.sampled_from([0, 1, 1000, 10**6, 10**9, -(10**6), -(10**9), 3600 * 10**9])
        | st.integers(-2 * NS_PER_DAY, 2 * NS_PER_DAY),
        st.integers(1, 501),
        st.booleans(),
    ),
    max_size=40,
)


@given(JUMPS, st.integers(0, 999))
def test_report_s_timestamps_are_its_own_whatever_the_clock_and_restarts_do(
    steps: list[tuple[int, int, bool]], instance: int
) -> None:
    stamper = ReportStamper(instance=instance)
    taken: list[range] = []
    now = NOON
    for step, count, restarts in steps:
        now += step
        if restarts:
            stamper = ReportStamper(instance=instance, used=[s[-1] for s in taken] + stamper.marks)
        stamps = stamper.take(now, count)
        assert len(stamps) == count
        assert stamps.step == 1000
        assert stamps[0] // NS_PER_DAY == stamps[-1] // NS_PER_DAY
        taken.append(stamps)
    assert _all_free(taken)
    assert {stamp % 1000 for stamps in taken for stamp in stamps} <= {instance}


@given(st.lists(st.integers(-(2**40), 2**40), max_size=6), st.integers(1, 501))
def test_lead_over_the_clock_is_bounded_whatever_an_earlier_clock_said(
    clocks: list[int], count: int
) -> None:
    stamper = ReportStamper(instance=3)
    for clock in clocks:
        stamps = stamper.take(NOON + clock, count)
        assert -2_100_000 <= stamps[0] - (NOON + clock) <= LEAD_NS
        assert stamps[0] // NS_PER_DAY == (NOON + clock) // NS_PER_DAY


def test_clock_that_was_a_year_ahead_leaves_no_trace_on_the_next_report() -> None:
    stamper = ReportStamper(instance=0)
    stamper.take(NOON + 365 * NS_PER_DAY, 2)
    for used in ([], stamper.marks):
        again = ReportStamper(instance=0, used=used) if used else stamper
        assert again.take(NOON, 2)[0] - NOON < LEAD_NS


def test_time_that_an_earlier_clock_passed_is_passed_again_without_one_timestamp_twice() -> None:
    stamper = ReportStamper(instance=0)
    taken = [stamper.take(NOON + n * 10**7, 3) for n in range(200)]
    for _ in range(5):
        taken += [stamper.take(NOON + n * 10**7, 3) for n in range(200)]
    assert _all_free(taken)
    assert max(stamps[-1] for stamps in taken) < NOON + 200 * 10**7 + LEAD_NS


def test_lane_for_dating_anew_shares_no_timestamp_with_the_others() -> None:
    taking, redating = ReportStamper(instance=0), ReportStamper(instance=0, lanes=REDATING_LANES)
    taken = [stamper.take(NOON + n * 1000, 2) for n in range(300) for stamper in (taking, redating)]
    assert _all_free(taken)


def test_report_stamped_in_the_last_nanosecond_stays_in_its_day() -> None:
    stamps = ReportStamper(instance=1).take(MIDNIGHT - 1, 501)
    assert MIDNIGHT - 2_100_000 < stamps[0] < stamps[-1] < MIDNIGHT


def test_full_last_block_of_a_day_is_followed_by_the_next_day() -> None:
    stamper = ReportStamper(instance=1)
    days = [stamper.take(MIDNIGHT - 1, 501)[0] // NS_PER_DAY for _ in range(4)]
    assert days == sorted(days)
    assert len(set(days)) == 2


def test_report_larger_than_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="1024 points"):
        ReportStamper(instance=0).take(NOON, 1025)


def test_a_second_has_room_for_more_points_than_a_process_can_take() -> None:
    stamper = ReportStamper(instance=0)
    stamps = [stamper.take(NOON, 501) for _ in range(800)]
    assert stamps[-1][-1] - NOON < 2 * LEAD_NS
