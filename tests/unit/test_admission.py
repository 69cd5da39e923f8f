from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.admission import (
    ALONE,
    SAYERS_DAYS,
    Freed,
    Network,
    News,
    RateLimit,
    Sighting,
    TagBudget,
    TagValue,
    sayers_needed,
    sender_address,
)

SECRET = b"s" * 32
NOON = 1_772_366_400.0
DAY = 86_400.0


def limit(per_hour: int) -> RateLimit:
    return RateLimit(per_hour=per_hour, secret=SECRET)


def networks(*texts: str) -> list[Network]:
    return [ipaddress.ip_network(text) for text in texts]


def test_reports_over_the_limit_wait() -> None:
    rate = limit(3)
    assert [rate.wait("192.0.2.1", NOON) for _ in range(4)] == [0, 0, 0, 1200]


def test_wait_that_was_told_is_enough() -> None:
    rate = limit(3)
    for _ in range(3):
        rate.wait("192.0.2.1", NOON)
    wait = rate.wait("192.0.2.1", NOON)
    assert rate.wait("192.0.2.1", NOON + wait - 1) > 0
    assert rate.wait("192.0.2.1", NOON + wait) == 0


def test_limit_of_0_lets_everything_through() -> None:
    rate = limit(0)
    assert {rate.wait("192.0.2.1", NOON) for _ in range(10_000)} == {0}
    assert len(rate) == 0


def test_addresses_are_counted_apart() -> None:
    rate = limit(1)
    assert [rate.wait(f"192.0.2.{n}", NOON) for n in (1, 2, 1)] == [0, 0, 3600]


def test_site_of_ipv6_counts_as_one_address() -> None:
    rate = limit(1)
    assert rate.wait("2001:db8:1:2::1", NOON) == 0
    assert rate.wait("2001:db8:1:2:ffff::9%eth0", NOON) > 0
    assert rate.wait("2001:db8:1:3::1", NOON) == 0


def test_ipv4_addresses_written_as_ipv6_are_counted_apart() -> None:
    rate = limit(1)
    assert [rate.wait(f"::ffff:192.0.2.{n}", NOON) for n in (1, 2)] == [0, 0]
    assert rate.wait("192.0.2.1", NOON) > 0


@pytest.mark.parametrize(
    "address", ["", "unknown", "192.0.2.1:4711", "[::1]:80", "::x", "a" * 9999]
)
def test_address_that_cannot_be_parsed_is_counted_like_any_other(address: str) -> None:
    rate = limit(1)
    assert [rate.wait(address, NOON) > 0 for _ in range(2)] == [False, True]


def test_counters_are_forgotten_the_next_day() -> None:
    rate = limit(5)
    for n in range(100):
        rate.wait(f"192.0.2.{n}", NOON)
    rate.wait("192.0.2.1", NOON + DAY)
    assert len(rate) == 1


def test_counter_of_an_address_cannot_be_told_from_yesterdays() -> None:
    rate = limit(5)
    rate.wait("192.0.2.1", NOON)
    names = set(rate._buckets)  # noqa: SLF001 - what is kept is the promise
    rate.wait("192.0.2.1", NOON + DAY)
    assert not names & set(rate._buckets)  # noqa: SLF001
    assert all(b"192" not in name for name in rate._buckets)  # noqa: SLF001


def test_counters_that_are_full_again_are_forgotten_within_hours() -> None:
    rate = limit(3600)
    for n in range(200):
        rate.wait(f"192.0.2.{n}", NOON)
    rate.wait("198.51.100.1", NOON + 3601)
    assert len(rate) == 1


@given(st.lists(st.floats(0, 3 * 3600), max_size=100))
def test_an_address_never_gets_through_more_than_the_limit_and_its_burst(
    times: list[float],
) -> None:
    rate = limit(10)
    passed = sum(rate.wait("192.0.2.1", NOON + at) == 0 for at in sorted(times))
    assert passed <= 10 + 3 * 10


def test_clock_set_back_gives_nobody_more() -> None:
    rate = limit(1)
    assert rate.wait("192.0.2.1", NOON) == 0
    assert rate.wait("192.0.2.1", NOON - 600) > 0


PROXIES = networks("10.0.0.0/8", "2001:db8::/32")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        pytest.param("192.0.2.1", [], "192.0.2.1", id="no proxy"),
        pytest.param("192.0.2.1", ["198.51.100.1"], "192.0.2.1", id="stranger who claims"),
        pytest.param("10.0.0.1", ["198.51.100.1"], "198.51.100.1", id="proxy"),
        pytest.param("10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1", id="sender lies"),
        pytest.param("10.0.0.1", ["198.51.100.1, 10.0.0.2"], "198.51.100.1", id="two proxies"),
        pytest.param("10.0.0.1", ["198.51.100.1", "10.0.0.2"], "198.51.100.1", id="two headers"),
        pytest.param("10.0.0.1", [], "10.0.0.1", id="proxy that says nothing"),
        pytest.param("10.0.0.1", ["10.0.0.2"], "10.0.0.2", id="proxies alone"),
        pytest.param("2001:db8::1", ["198.51.100.1"], "198.51.100.1", id="proxy by IPv6"),
        pytest.param("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1", id="IPv4 as IPv6"),
        pytest.param("", ["198.51.100.1"], "", id="no peer"),
        pytest.param("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1", id="port"),
        pytest.param("10.0.0.1", ['"198.51.100.1:4711"'], "198.51.100.1", id="quoted"),
        pytest.param("10.0.0.1", ["[2001:470::1]:443"], "2001:470::1", id="IPv6 with port"),
        pytest.param("10.0.0.1", ['"[2001:470::1]"'], "2001:470::1", id="IPv6 in brackets"),
        pytest.param("10.0.0.1", ["2001:470::1"], "2001:470::1", id="bare IPv6"),
        pytest.param("10.0.0.1", ["198.51.100.1, 10.0.0.2:80"], "198.51.100.1", id="proxy's port"),
        pytest.param("10.0.0.1", ["nonsense, 198.51.100.1"], "198.51.100.1", id="sender's garbage"),
        pytest.param("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1", id="proxy's garbage"),
        pytest.param("10.0.0.1", ["198.51.100.1,"], "10.0.0.1", id="nothing at the end"),
        pytest.param("10.0.0.1", ["198.51.100.1, 300.1.1.1"], "10.0.0.1", id="no address"),
    ],
)
def test_sender_is_the_last_address_that_is_no_trusted_proxy(
    peer: str, forwarded: list[str], address: str
) -> None:
    assert sender_address(peer, forwarded, PROXIES) == address


def test_without_trusted_proxies_nothing_forwarded_counts() -> None:
    assert sender_address("10.0.0.1", ["198.51.100.1"], []) == "10.0.0.1"


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
WRITTEN = st.sampled_from(["{}", " {} ", '"{}"', "{}:4711", '"{}:1"'])
GARBAGE = st.lists(st.text(st.characters(max_codepoint=255), max_size=20), max_size=3)


@given(ADDRESSES, WRITTEN, WRITTEN, GARBAGE, GARBAGE)
def test_a_sender_behind_a_proxy_has_one_bucket_of_its_own_whatever_it_claims(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    one: str,
    other: str,
    first: list[str],
    second: list[str],
) -> None:
    if any(address in network for network in PROXIES):
        return
    shown = str(address) if address.version == 4 else f"[{address}]"
    found = {
        sender_address("10.0.0.1", [*claimed, form.format(shown)], PROXIES)
        for form, claimed in ((one, first), (other, second))
    }
    assert found == {str(address)}


@given(GARBAGE)
def test_text_that_names_no_address_gives_nobody_a_bucket_of_its_own(garbage: list[str]) -> None:
    assert sender_address("10.0.0.1", [*garbage, "unknown"], PROXIES) == "10.0.0.1"


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
    needed = [sayers_needed(held, 200) for held in (0, 99, 100, 119, 120, 140, 160, 199, 200)]
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
    news: News = []
    before = tags.version
    given = [tags.admit("arch", "new", server, 1, news) for server in ("s", "s", "t")]
    assert given == ["other", "other", "new"]
    assert tags.held("arch") == 100
    assert tags.version > before
    (freed,) = [one for one in news if isinstance(one, Freed)]
    assert freed.value.startswith("made up")


def test_made_up_values_that_nobody_says_any_more_leave_within_days() -> None:
    tags = blinded(1)
    assert say(tags, "rare", ["s"], 1 + SAYERS_DAYS) == ["other"]
    assert say(tags, "rare", ["s"], 2 + SAYERS_DAYS) == ["rare"]
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
    monkeypatch.setattr("collector.admission._MOST_SIGHTINGS", 100)
    tags = budget(20)
    say(tags, "rare", range(4), 1)
    for n in range(1000):
        tags.admit("arch", f"made up {n}", "one server", 1, [])
    news: News = []
    tags.admit("arch", "rare", "the fifth", 1, news)
    assert TagValue("arch", "rare", 1, firm=True) in news


def test_values_that_were_forgotten_give_their_places_back() -> None:
    tags = budget(1, *firm("a"))
    assert say(tags, "b", ["s"], 1) == ["other"]
    before = tags.version
    tags.replace([], {})
    assert tags.version > before
    assert say(tags, "b", ["s"], 1) == ["b"]


def test_what_is_not_remembered_yet_stays_when_the_memory_is_read() -> None:
    tags = budget(4)
    news: News = [Sighting("arch", "b", "s", 1), TagValue("arch", "b", 1), Freed("arch", "a")]
    tags.replace([*firm("a"), TagValue("gone", "x", 1)], {}, news)
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
    news: News = []
    for day in (1, 1, 2):
        tags.admit("arch", "a", "s", day, news)
    told = [Sighting("arch", "a", "s", 1), TagValue("arch", "a", 1)]
    assert news == [*told, Sighting("arch", "a", "s", 2), TagValue("arch", "a", 2)]
