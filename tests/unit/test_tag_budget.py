from __future__ import annotations

from collections.abc import Iterable

import pytest

from collector.tag_budget import (
    ALONE,
    FIRM_DAYS,
    Changes,
    Freed,
    Sighting,
    TagBudget,
    TagValue,
    servers_needed,
)


def budget(size: int, *seen: TagValue) -> TagBudget:
    return TagBudget({"arch": size}, memory_days=90, seen=seen)


def firm(*values: str, day: int = 1) -> list[TagValue]:
    return [TagValue("arch", value, day, firm=True) for value in values]


def say(tags: TagBudget, value: str, servers: Iterable[object], day: int) -> list[str]:
    return [tags.admit("arch", value, str(server), day, []) for server in servers]


def test_value_past_the_budget_becomes_other() -> None:
    tags = budget(4)
    given = [tags.admit("arch", v, "s", 1, []) for v in ("a", "b", "c", "a")]
    assert given == ["a", "b", "other", "a"]


def test_new_value_needs_more_servers_the_less_of_the_budget_is_left() -> None:
    needed = [servers_needed(held, 200) for held in (0, 99, 100, 119, 120, 140, 160, 199, 200)]
    assert needed == [1, 1, 5, 5, 10, 20, 40, 80, None]


def test_value_is_admitted_when_enough_different_servers_say_it_within_days() -> None:
    tags = budget(4, *firm("a", "b"))
    assert say(tags, "c", "sssstuvw", 10) == ["other"] * 7 + ["c"]
    late = budget(4, *firm("a", "b"))
    days = zip("stuvw", (1, 1, 9, 9, 9), strict=True)
    assert {late.admit("arch", "c", server, day, []) for server, day in days} == {"other"}


def test_one_server_holds_few_values_and_leaves_room_for_rare_ones() -> None:
    tags = budget(200)
    for n in range(20_000):
        tags.admit("arch", f"made up {n}", "one server", 1, [])
    assert tags.held("arch") == ALONE
    assert say(tags, "rare", ["another"], 1) == ["rare"]
    # What others say too is not counted against it.
    say(tags, "made up 0", ["another"], 1)
    assert say(tags, "its own", ["one server"], 1) == ["its own"]


def blinded(day: int) -> TagBudget:
    """A budget whose free half one sender took with a made-up server for each value."""
    tags = budget(200)
    for n in range(20_000):
        tags.admit("arch", f"made up {n}", f"made up server {n}", day, [])
    assert tags.held("arch") == 100
    return tags


def test_value_of_two_servers_takes_the_place_of_a_made_up_one_at_once() -> None:
    tags = blinded(1)
    changes: Changes = []
    before = tags.version
    given = [tags.admit("arch", "new", server, 1, changes) for server in ("s", "s", "t")]
    assert given == ["other", "other", "new"]
    assert tags.held("arch") == 100
    assert tags.version > before
    (freed,) = [one for one in changes if isinstance(one, Freed)]
    assert freed.value.startswith("made up")


def test_made_up_values_that_nobody_says_any_more_leave_within_days() -> None:
    tags = blinded(1)
    assert say(tags, "rare", ["s"], 1 + FIRM_DAYS) == ["other"]
    assert say(tags, "rare", ["s"], 2 + FIRM_DAYS) == ["rare"]
    assert tags.held("arch") == 1


def test_values_of_three_servers_are_admitted_also_while_made_up_ones_come_each_day() -> None:
    tags = budget(200)
    say(tags, "old", "abc", 0)
    for day in range(1, 30):
        for n in range(200):
            say(tags, f"made up {day} {n}", [f"made up server {n}"], day)
        assert say(tags, "old", "abc", day) == ["old"] * 3
        assert say(tags, f"release {day // 5}", "abc", day)[2] == f"release {day // 5}"


def test_values_that_many_servers_said_are_held_as_long_as_reports_are() -> None:
    tags = budget(4)
    assert say(tags, "many", range(5), 1) == ["many"] * 5
    say(tags, "few", range(4), 1)
    assert say(tags, "new", ["s"], 91) == ["new"]
    assert say(tags, "many", ["s"], 91) == ["many"]
    # Clocks are set back: nothing gets older by it.
    assert say(tags, "many", ["s"], 2) == ["many"]
    assert say(tags, "x", range(5), 91)[-1] == "x"
    assert say(tags, "x", ["s"], 182) == ["x"]
    assert say(tags, "y", ["s"], 182) == ["y"]


def test_budget_that_is_full_of_firm_values_takes_none() -> None:
    tags = budget(4, *firm("a", "b", "c", "d"))
    assert set(say(tags, "e", range(500), 1)) == {"other"}


def test_who_said_waiting_values_is_bounded_and_held_ones_count_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("collector.tag_budget._MOST_SIGHTINGS", 100)
    tags = budget(20)
    say(tags, "rare", range(4), 1)
    for n in range(1000):
        tags.admit("arch", f"made up {n}", "one server", 1, [])
    changes: Changes = []
    tags.admit("arch", "rare", "the fifth", 1, changes)
    assert TagValue("arch", "rare", 1, firm=True) in changes


def test_values_that_were_forgotten_give_their_places_back() -> None:
    tags = budget(1, *firm("a"))
    assert say(tags, "b", ["s"], 1) == ["other"]
    before = tags.version
    tags.replace([], {})
    assert tags.version > before
    assert say(tags, "b", ["s"], 1) == ["b"]


def test_what_is_not_remembered_yet_stays_when_the_memory_is_read() -> None:
    tags = budget(4)
    changes: Changes = [Sighting("arch", "b", "s", 1), TagValue("arch", "b", 1), Freed("arch", "a")]
    tags.replace([*firm("a"), TagValue("gone", "x", 1)], {}, changes)
    assert tags.held("arch") == 1
    assert say(tags, "b", ["s"], 1) == ["b"]


def test_unknown_and_other_cost_nothing() -> None:
    tags = budget(1)
    assert tags.admit("arch", "unknown", "s", 1, []) == "unknown"
    assert tags.admit("arch", "other", "s", 1, []) == "other"
    assert tags.held("arch") == 0


def test_values_of_earlier_runs_count() -> None:
    tags = budget(1, *firm("a"), TagValue("gone", "x", 1))
    assert tags.admit("arch", "b", "s", 1, []) == "other"


def test_value_not_seen_for_longer_than_its_memory_gives_its_place_back() -> None:
    tags = budget(1, *firm("a"))
    assert tags.admit("arch", "b", "s", 91, []) == "other"
    assert tags.admit("arch", "b", "s", 92, []) == "b"


def test_first_sight_of_a_value_on_a_day_is_told() -> None:
    tags = budget(2)
    changes: Changes = []
    for day in (1, 1, 2):
        tags.admit("arch", "a", "s", day, changes)
    told = [Sighting("arch", "a", "s", 1), TagValue("arch", "a", 1)]
    assert changes == [*told, Sighting("arch", "a", "s", 2), TagValue("arch", "a", 2)]
