from __future__ import annotations

from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.rollup.facts import DayFacts
from collector.rollup.hourly import (
    Hour,
    expect,
    history_of,
    hourly_fields,
    hours_of,
    stored_hours,
)
from tests.days import One, day
from tests.length import repeat
from tests.oracle import DAY, HOUR

Report = tuple[int, int]
"""Hour and node; the node's server is its number modulo 3."""

reports = st.lists(st.tuples(st.integers(0, 23), st.integers(1, 8)), max_size=12).map(sorted)


def facts(of: list[Report]) -> DayFacts | None:
    return day(*(One((node,), server=node % 3, hour=hour) for hour, node in of)) if of else None


@settings(max_examples=repeat(25, 250))
@given(reports, reports, st.integers(0, 24))
def test_hours_of_any_two_days_equal_those_of_plain_sets(
    before: list[Report], today: list[Report], over: int
) -> None:
    both = [(hour - 24, node) for hour, node in before] + today
    eve, expected = facts(before), []
    for hour in range(over):
        around = {node for at, node in both if hour - 24 < at <= hour}
        expected.append(
            Hour(
                reports=sum(at == hour for at, _ in today),
                nodes=len({node for at, node in today if at == hour}),
                nodes_24h=len(around),
                servers_24h=len({node % 3 for node in around}),
            )
        )
    assert hours_of(eve.units if eve else None, facts(today), over) == expected


def hour(reports: int, nodes_24h: int = 0) -> Hour:
    return Hour(reports=reports, nodes=0, nodes_24h=nodes_24h, servers_24h=0)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], None),
        ([5], None),
        ([5, 5], None),
        ([1, 2, 9], 2.0),
        ([1, 2, 4, 9], 3.0),
        ([0, 1, 4, 9], 2.5),
        ([0, 0, 0], 0.0),
        ([7, 1, 6, 2, 5, 3, 4], 4.0),
    ],
)
def test_an_hour_expects_the_median_of_three_days_or_more(
    history: list[int], expected: float | None
) -> None:
    seen = expect(hour(1, 2), [hour(n, 10 * n) for n in history])
    assert seen.expected_reports == expected
    assert seen.expected_nodes_24h == (None if expected is None else 10 * expected)
    assert (seen.reports, seen.nodes_24h) == (1, 2)


def test_what_was_expected_before_is_not_carried_on() -> None:
    old = Hour(1, 1, 1, 1, expected_reports=9.0, expected_nodes_24h=9.0)
    assert expect(old, []) == Hour(1, 1, 1, 1)


def test_an_hour_s_history_is_the_same_hour_of_seven_days_before() -> None:
    hours = {n * HOUR: hour(n) for n in range(24 * 10)}
    start = 9 * DAY + 5 * HOUR
    told = [past.reports for past in history_of(hours, start)]
    assert told == [n * 24 + 5 for n in (8, 7, 6, 5, 4, 3, 2)]
    assert median(told) == 5 * 24 + 5


def test_days_without_points_are_left_out_of_an_hour_s_history() -> None:
    hours = {n * DAY: hour(n) for n in (1, 4, 6, 20)}
    assert [past.reports for past in history_of(hours, 7 * DAY)] == [6, 4, 1]


@pytest.mark.parametrize("told", [Hour(1, 2, 3, 4), Hour(1, 2, 3, 4, 0.0, 2.5), Hour(0, 0, 0, 0)])
def test_an_hour_survives_being_stored(told: Hour) -> None:
    assert stored_hours({7: hourly_fields(told)}) == {7: told}


@pytest.mark.parametrize("lost", ["reports", "nodes", "nodes_24h", "servers_24h"])
def test_a_stored_hour_that_is_not_whole_tells_of_none(lost: str) -> None:
    whole = dict(hourly_fields(Hour(1, 2, 3, 4)))
    torn = {name: value for name, value in whole.items() if name != lost}
    assert stored_hours({7: whole, 8: torn}).keys() == {7}


def test_what_is_not_expected_is_absent_rather_than_zero() -> None:
    assert not [name for name in hourly_fields(Hour(0, 0, 0, 0)) if name.startswith("expected")]


@pytest.mark.parametrize(
    ("reports", "expected", "missed"),
    [(0, 5.0, True), (0, 4.0, False), (0, None, False), (1, 5.0, False)],
)
def test_hour_is_missed_where_nothing_came_of_what_was_to_be_expected(
    reports: int, expected: float | None, missed: bool
) -> None:
    hour = Hour(reports, 0, 0, 0, expected_reports=expected)
    assert ("missed" in hourly_fields(hour)) is missed
