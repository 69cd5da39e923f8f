from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.admission import Network, RateLimit, sender_address

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
