from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.rollup.facts import DayFacts
from collector.rollup.windows import (
    Presence,
    WindowCounts,
    advance,
    empty_presence,
    window_counts,
)
from tests.days import One, day, upgrades
from tests.length import repeat

A, B, C, UNKNOWN = "asl3-1", "asl3-2", "asl3-3", "unknown"


def presence(*days: DayFacts | None) -> Presence:
    """The presence at the end of the last of these days, which follow each other."""
    now = empty_presence()
    for facts in days:
        now = advance(now, None if facts is None else facts.units)
    return now


def quiet(days: int) -> list[None]:
    return [None] * days


def of(*nodes: int, asl: str = A, server: int = 1) -> DayFacts:
    return day(One(nodes, server=server, asl=asl))


@pytest.mark.no_cover  # the slow repetition of what other tests cover
@settings(max_examples=repeat(15, 150))
@given(st.lists(st.frozensets(st.integers(1, 5), max_size=4), min_size=33, max_size=40))
def test_windows_of_any_history_equal_those_of_plain_sets(history: list[frozenset[int]]) -> None:
    now = empty_presence()
    for number, nodes in enumerate(history):
        # A server of the node's own, half of them moving every other day.
        reports = [One((node,), server=node + 10 * (node * number % 2)) for node in sorted(nodes)]
        now = advance(now, day(*reports).units if reports else None)

        def seen(days: int, back: int = 0, at: int = number) -> set[int]:
            end = at + 1 - back
            return set().union(*history[max(0, end - days) : max(0, end)])

        counts = window_counts(now)
        assert counts.nodes_7d == len(seen(7))
        assert counts.nodes_30d == len(seen(30))
        assert counts.new_nodes == len(nodes - seen(30, back=1))
        assert counts.lapsed_nodes == len(seen(1, back=30) - seen(30))


def test_servers_of_a_week_and_of_a_month_are_counted_once_each() -> None:
    days = [of(1, server=1), of(1, server=2), *quiet(5), of(1, server=1), of(1, server=3)]
    counts = window_counts(presence(*days))
    # Server 2 reported seven days before: on the first day that the week leaves out.
    assert (counts.servers_7d, counts.servers_30d) == (2, 3)


@pytest.mark.parametrize(("silent", "new"), [(0, 0), (1, 0), (28, 0), (29, 0), (30, 1), (31, 1)])
def test_a_node_is_new_after_thirty_days_of_silence(silent: int, new: int) -> None:
    assert window_counts(presence(of(1), *quiet(silent), of(1))).new_nodes == new


@pytest.mark.parametrize(("silent", "lapsed"), [(1, 0), (29, 0), (30, 1), (31, 0)])
def test_a_node_lapses_once_thirty_days_after_its_last_report(silent: int, lapsed: int) -> None:
    assert window_counts(presence(of(1), *quiet(silent))).lapsed_nodes == lapsed


def test_a_node_that_came_back_does_not_lapse() -> None:
    days = [of(1, 2), *quiet(14), of(1), *quiet(15)]
    assert window_counts(presence(*days)).lapsed_nodes == 1


def test_nobody_is_nobody_however_long_it_lasts() -> None:
    assert window_counts(presence(*quiet(40))) == WindowCounts(0, 0, 0, 0, 0, 0)


def test_who_has_been_silent_for_a_month_is_forgotten() -> None:
    assert presence(of(1), *quiet(30)).nodes.height == 1
    assert presence(of(1), *quiet(31)).nodes.height == 0


@pytest.mark.parametrize(("silent", "moves"), [(0, {(A, B): 2}), (29, {(A, B): 2}), (30, {})])
def test_an_upgrade_is_from_a_report_to_the_next_one_within_thirty_days(
    silent: int, moves: dict[tuple[str, str], int]
) -> None:
    before = presence(of(1, 2, 3), *quiet(silent))
    assert upgrades(before, day(One((1, 2), asl=B), One((3,), asl=A))) == moves


def test_an_upgrade_counts_from_the_version_of_the_last_report_before() -> None:
    before = presence(of(1, asl=A), of(1, asl=B), None)
    assert upgrades(before, of(1, asl=B)) == {}
    assert upgrades(before, of(1, asl=C)) == {(B, C): 1}


def test_moves_overnight_and_in_the_day_count_each_node_once_a_version() -> None:
    before = presence(of(1, 2, asl=A))
    today = day(
        One((1,), asl=B),
        One((1,), asl=A, hour=1),
        One((1,), asl=B, hour=2),
        One((1,), asl=C, hour=3),
        One((2,), asl=A),
    )
    assert upgrades(before, today) == {(A, B): 1, (B, C): 1}


def test_a_pair_of_machines_that_report_in_turn_is_one_move() -> None:
    now, moves = presence(of(1, asl=A)), []
    for number in range(70):
        today = of(1, asl=A if number % 2 else B)
        moves.append(upgrades(now, today))
        now = advance(now, today.units)
    assert moves == [{(A, B): 1}, *[{}] * 69]
    twice_a_day = day(One((1,), asl=B), One((1,), asl=A, hour=1), One((1,), asl=B, hour=2))
    for _ in range(40):
        assert upgrades(now, twice_a_day) == {}
        now = advance(now, twice_a_day.units)


@pytest.mark.parametrize(("days", "moves"), [(29, {}), (30, {(B, A): 1})])
def test_a_node_that_returns_to_a_version_after_a_window_moves_again(
    days: int, moves: dict[tuple[str, str], int]
) -> None:
    for between in ([of(1, asl=B)] * days, [of(1, asl=B), *quiet(days - 2), of(1, asl=B)]):
        assert upgrades(presence(of(1, asl=A), *between), of(1, asl=A)) == moves
    within = day(One((1,), asl=A), One((1,), asl=B, hour=1))
    assert upgrades(presence(within, *[of(1, asl=B)] * days), of(1, asl=A)) == moves


def test_versions_that_look_alike_are_one_under_the_name_that_most_nodes_have() -> None:
    before = presence(of(1, 2, asl="asl3-1"))
    today = day(One((1,), asl="asl3-l"), One((3, 4), asl="asl3-I.O"), One((2,), asl="asl3-1.0"))
    assert upgrades(before, today) == {("asl3-l", "asl3-I.O"): 1}


def test_an_unknown_version_is_no_upgrade_in_either_direction() -> None:
    before = presence(of(1, asl=UNKNOWN), of(2, asl=A))
    today = day(
        One((1,), asl=B), One((2,), asl=UNKNOWN), One((2,), asl=B, hour=1), One((3,), asl=B)
    )
    assert upgrades(before, today) == {}
