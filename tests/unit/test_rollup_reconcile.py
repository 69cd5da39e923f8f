from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from collector.days import day_ns
from collector.lines import FieldValue
from collector.rollup.cache import Basis, RawCount
from collector.rollup.hourly import Hour, expect, history_of
from collector.rollup.inputs import StoredDay
from collector.rollup.reconcile import Snapshot, days_due
from tests.oracle import HOUR

FIRST = date(2026, 1, 1)
TODAY = date(2026, 2, 15)
NOW = datetime(2026, 2, 15, 10, 30, tzinfo=UTC)
COUNT = RawCount(10, 20)
ALL = [FIRST + timedelta(days=n) for n in range((TODAY - FIRST).days + 1)]


def on(month: int, day: int) -> date:
    return date(2026, month, day)


def days(first: date, last: date) -> list[date]:
    return [each for each in ALL if first <= each <= last]


def stored(count: RawCount = COUNT, **more: FieldValue) -> StoredDay:
    counts = {"reports": count.reports, "node_reports": count.node_reports}
    return StoredDay({**counts, "final": 1, **more})


def settled() -> Snapshot:
    """Forty-six days that are as they should be; the last is open, ten hours of it are over."""
    hours: dict[int, Hour] = {}
    for each in ALL:
        for number in range(10 if each == TODAY else 24):
            start = day_ns(each) + number * HOUR
            hours[start] = expect(Hour(number, 1, 1, 1), history_of(hours, start))
    return Snapshot(
        counts=dict.fromkeys(ALL, COUNT),
        stored={day: stored(final=int(day != TODAY)) for day in ALL},
        hours=hours,
        bases={day: dict.fromkeys(days(FIRST, day), COUNT) for day in ALL},
    )


def due(state: Snapshot, *, first: date = FIRST, now: datetime = NOW) -> list[date]:
    return days_due(state, first, now)


def with_count(state: Snapshot, day: date, count: RawCount) -> Snapshot:
    counts = {d: c for d, c in {**state.counts, day: count}.items() if c != RawCount()}
    return replace(state, counts=counts)


def with_stored(state: Snapshot, day: date, found: StoredDay | None) -> Snapshot:
    kept = {d: s for d, s in state.stored.items() if d != day}
    return replace(state, stored=kept if found is None else {**kept, day: found})


def with_basis(state: Snapshot, day: date, basis: Basis | None) -> Snapshot:
    return replace(state, bases={**state.bases, day: basis})


def with_hour(state: Snapshot, day: date, number: int, hour: Hour | None) -> Snapshot:
    start = day_ns(day) + number * HOUR
    kept = {s: h for s, h in state.hours.items() if s != start}
    return replace(state, hours=kept if hour is None else {**kept, start: hour})


def test_nothing_is_due_where_all_is_as_it_should_be() -> None:
    assert due(settled()) == []


def test_a_network_without_reports_has_nothing_due() -> None:
    assert due(Snapshot({}, {}, {}, {})) == []


@pytest.mark.parametrize("count", [RawCount(11, 20), RawCount(10, 21), RawCount(9, 19)])
def test_a_changed_day_is_due_with_the_thirty_after_it(count: RawCount) -> None:
    state = with_count(settled(), on(1, 5), count)
    assert due(state) == days(on(1, 5), on(2, 4))


def test_a_missing_day_is_due_with_the_week_after_it_whose_expectations_it_has_a_part_in() -> None:
    # The others were computed from its reports; an hour counts the nodes of its eve's hours too.
    state = with_stored(settled(), on(1, 20), None)
    assert due(state) == days(on(1, 20), on(1, 28))


def test_days_from_the_first_report_on_are_due_where_nothing_is_stored() -> None:
    state = Snapshot(dict.fromkeys(days(on(2, 1), on(2, 3)), COUNT), {}, {}, {})
    assert due(state, first=on(2, 1)) == days(on(2, 1), TODAY)


@pytest.mark.parametrize(
    ("hour", "minute", "told"), [(0, 30, []), (1, 0, [TODAY]), (10, 30, [TODAY])]
)
def test_silence_today_is_due_once_an_hour_of_it_is_over(
    hour: int, minute: int, told: list[date]
) -> None:
    state = with_count(with_stored(settled(), TODAY, None), TODAY, RawCount())
    state = with_stored(state, on(2, 14), stored())
    assert due(state, now=NOW.replace(hour=hour, minute=minute)) == told


def test_the_first_hours_before_the_first_report_ever_are_no_silence() -> None:
    state = Snapshot({}, {}, {}, {})
    assert due(state, first=TODAY) == []


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (datetime(2026, 2, 15, 0, 59, tzinfo=UTC), []),
        (datetime(2026, 2, 15, 1, 0, tzinfo=UTC), [on(2, 14)]),
    ],
)
def test_the_eve_is_due_once_it_can_be_final(now: datetime, told: list[date]) -> None:
    state = with_stored(settled(), on(2, 14), stored(final=0))
    state = replace(state, hours={s: h for s, h in state.hours.items() if s < day_ns(TODAY)})
    assert [day for day in due(state, now=now) if day < TODAY] == told


def test_the_open_day_is_due_when_an_hour_of_it_has_ended() -> None:
    assert due(settled(), now=NOW + timedelta(minutes=29)) == []
    assert due(settled(), now=NOW + timedelta(minutes=30)) == [TODAY]


@pytest.mark.parametrize(
    "basis", [None, {}, dict.fromkeys(days(on(1, 2), on(1, 20)), RawCount(1, 1))]
)
def test_a_day_is_due_where_it_was_computed_from_other_days_than_now(basis: Basis | None) -> None:
    assert due(with_basis(settled(), on(1, 20), basis)) == [on(1, 20)]


def test_what_a_day_knew_of_more_than_thirty_days_before_is_no_matter() -> None:
    day = on(2, 10)
    basis = dict.fromkeys(days(on(1, 11), day), COUNT)
    assert due(with_basis(settled(), day, basis)) == []
    del basis[on(1, 11)]
    assert due(with_basis(settled(), day, basis)) == [day]


@pytest.mark.parametrize("number", [0, 23])
def test_a_day_without_one_of_its_hours_is_due(number: int) -> None:
    assert on(1, 20) in due(with_hour(settled(), on(1, 20), number, None))


def test_days_are_due_whose_hours_expect_something_else_than_the_week_before_says() -> None:
    state = settled()
    start = day_ns(on(1, 20)) + 5 * HOUR
    state = with_hour(state, on(1, 20), 5, replace(state.hours[start], expected_reports=99.0))
    assert due(state) == [on(1, 20)]


def test_an_hour_stored_anew_makes_those_days_due_that_expect_another_median_by_it() -> None:
    state = settled()
    for day in days(on(1, 17), on(1, 20)):
        start = day_ns(day) + 5 * HOUR
        state = with_hour(state, day, 5, replace(state.hours[start], reports=50))
    found = due(state)
    # Four of the seven hours before it say 50 from the day after on, as long as all four count.
    assert on(1, 21) in found
    assert not set(found) & set(days(on(1, 29), TODAY))


def test_the_oldest_day_s_hours_are_no_matter_for_its_eve_may_have_expired() -> None:
    state = settled()
    first = on(1, 10)
    for number in range(24):
        state = with_hour(state, first, number, None)
    assert first not in due(state, first=first)


def test_what_was_computed_from_expired_days_is_not_compared() -> None:
    first = on(1, 20)
    state = settled()
    state = replace(state, counts={d: c for d, c in state.counts.items() if d >= first})
    assert due(state, first=first) == []


def imported(state: Snapshot) -> Snapshot:
    return with_stored(state, on(1, 20), stored(RawCount(), imported=1))


def erased(state: Snapshot) -> Snapshot:
    """Its owners erased three reports with five nodes after the day was final."""
    day = on(1, 20)
    found = stored(erased_reports=3, erased_node_reports=5)
    return with_count(with_stored(state, day, found), day, RawCount(7, 15))


@pytest.mark.parametrize("stays", [imported, erased])
def test_days_that_stay_as_they_are_are_not_due(stays: Callable[[Snapshot], Snapshot]) -> None:
    assert due(stays(settled())) == []


def test_a_late_report_makes_a_day_due_in_spite_of_an_erasure() -> None:
    state = erased(settled())
    assert on(1, 20) in due(with_count(state, on(1, 20), RawCount(8, 16)))


def test_days_of_which_only_an_older_server_knows_are_never_due() -> None:
    known = frozenset(days(on(1, 1), on(1, 3)))
    state = Snapshot(dict.fromkeys(known, COUNT), {}, {}, {}, imported=known)
    assert due(state) == []


def test_days_after_imported_ones_are_due_from_our_own_first_day_on() -> None:
    known = frozenset(days(on(1, 1), on(1, 3)))
    counts = dict.fromkeys([*known, on(2, 14)], COUNT)
    assert due(Snapshot(counts, {}, {}, {}, imported=known)) == [on(2, 14), TODAY]
