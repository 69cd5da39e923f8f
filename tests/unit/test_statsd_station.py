"""Which Asterisk a datagram is of, and what of it must be journalled."""

from __future__ import annotations

import ipaddress

import pytest
from structlog.testing import capture_logs

from collector.asterisks import Asterisk
from collector.intakes.statsd import station as stations_module
from collector.intakes.statsd.mapping import shipped
from collector.intakes.statsd.station import Station, Stations
from collector.lines import Point
from collector.memory import Journaled

T = 1_764_000_000 * 10**9


def stations(*asterisks: Asterisk, without_file: bool = False) -> tuple[Stations, list[str]]:
    dropped: list[str] = []
    return Stations(asterisks, shipped(), dropped.append, all_of_first=without_file), dropped


def named(found: Station | None) -> str | None:
    return None if found is None else found.name


def test_addresses_and_sockets_lead_to_their_asterisk_alone() -> None:
    networks = [ipaddress.ip_network(text) for text in ("192.0.2.0/28", "2001:db8::/64")]
    one = Asterisk("one", tuple(networks))
    other = Asterisk("other", (ipaddress.ip_network("fe80::1"),), ("/run/other.sock",))
    all_, dropped = stations(one, other)
    assert all_.only is None
    for host, name in {
        "192.0.2.3": "one",
        "192.0.2.16": None,
        "2001:db8::9": "one",
        "2001:db8:0:1::9": None,
        "fe80::1%eth0": "other",
    }.items():
        assert named(all_.of_address(host)) == name
        # From the cache too.
        assert named(all_.of_address(host)) == name
    assert named(all_.of_path("/run/other.sock")) == "other"
    assert named(all_.of_path("/run/another.sock")) is None
    assert not dropped


def test_without_a_file_everything_is_of_the_default_and_with_one_a_name_alone_hears_nothing() -> (
    None
):
    all_, _ = stations(Asterisk("default"), without_file=True)
    assert named(all_.only) == named(all_.of_path("/any")) == "default"
    # An Asterisk with AMI alone is no wildcard for StatsD.
    one, _ = stations(Asterisk("a"))
    assert (one.only, one.of_address("127.0.0.1"), one.of_path("/any")) == (None, None, None)


def test_asterisks_are_followed_as_the_file_says_and_the_others_keep_what_they_counted() -> None:
    one, two = (ipaddress.ip_network(f"192.0.2.{number}") for number in (1, 2))
    all_, _ = stations(Asterisk("one", (one,)), Asterisk("two", (two,)))
    first, second = all_.all
    first.take(b"calls:1|c", T)
    all_.follow([Asterisk("one", (two,)), Asterisk("three", (one,))], shipped())
    assert all_.of_address("192.0.2.2") is first
    assert named(all_.of_address("192.0.2.1")) == "three"
    assert [station.name for station in all_.all] == ["one", "two", "three"]
    assert (first.gone, second.gone) == (False, True)
    # It has its last flush first.
    assert all_.forget_gone() == [second]
    assert [station.name for station in all_.all] == ["one", "three"]
    assert first.aggregator.counts.samples == 1
    assert all_.forget_gone() == []


def test_made_up_addresses_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stations_module, "_ADDRESSES_MOST", 10)
    all_, _ = stations(Asterisk("one", (ipaddress.ip_network("192.0.2.1"),)), Asterisk("two"))
    for number in range(256):
        assert all_.of_address(f"198.51.100.{number}") is None
        assert len(all_._by_address) <= 10  # noqa: SLF001 - its bound is the promise
    assert named(all_.of_address("192.0.2.1")) == "one"


def test_datagrams_are_journalled_once_and_none_of_those_that_are_flushed() -> None:
    one = Station(Asterisk("one"), shipped())
    assert one.unsaved(T) is None
    one.take(b"calls:1|c", T)
    one.take(b"calls:2|c", T + 1)
    assert one.unsaved(T + 2) == Journaled("one", T + 2, [b"calls:1|c", b"calls:2|c"])
    assert one.unsaved(T + 3) is None
    one.take(b"calls:4|c", T + 4)
    one.flush(T + 10)
    assert one.unsaved(T + 11) is None
    assert (one.datagrams, one.heard_ns) == (3, T + 4)


def test_what_is_too_much_for_the_journal_is_noted_as_a_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stations_module, "_JOURNAL_MOST", 20)
    one = Station(Asterisk("one"), shipped())
    one.take(b"calls:1|c", T)
    assert one.unsaved(T) == Journaled("one", T, [b"calls:1|c"])
    one.take(b"calls:1|c" * 2, T)
    assert one.unsaved(T + 1) == Journaled("one", T + 1, None)
    one.flush(T + 10)
    one.take(b"calls:1|c", T + 11)
    assert one.unsaved(T + 11) == Journaled("one", T + 11, [b"calls:1|c"])
    one.mark_gap()
    assert one.unsaved(T + 12) == Journaled("one", T + 12, None)
    assert one.unsaved(T + 13) is None


def test_replayed_journal_gives_what_was_counted_and_a_gap_makes_gauges_uncertain() -> None:
    one = Station(Asterisk("one"), shipped())
    one.replay(Journaled("one", T, [b"calls:1|c", b"up:3|g"]))
    one.replay(Journaled("one", T + 10**9, None))
    one.replay(Journaled("one", T + 2 * 10**9, [b"calls:2|c"]))
    fields = {
        (point.measurement, point.tags.get("name")): dict(point.fields)
        for point in one.flush(T + 10 * 10**9)
    }
    assert fields["statsd_counter", "calls"] == {"value": 3.0}
    assert fields["statsd_gauge", "up"]["value"] == 3.0
    assert one.uncertain == 1
    assert one.heard_ns == T + 2 * 10**9


def test_fault_of_ours_costs_its_datagram_or_its_flush_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = Station(Asterisk("one"), shipped())
    take, flush = one.aggregator.take, one.aggregator.flush

    def failing_take(datagram: bytes, now_ns: int) -> None:
        if b"bad" in datagram:
            raise RuntimeError(datagram)
        take(datagram, now_ns)

    def failing_flush(now_ns: int) -> list[Point]:
        if now_ns == T:
            raise RuntimeError
        return flush(now_ns)

    monkeypatch.setattr(one.aggregator, "take", failing_take)
    monkeypatch.setattr(one.aggregator, "flush", failing_flush)
    with capture_logs() as logs:
        for datagram in (b"calls:1|c", b"bad:1|c", b"bad:2|c", b"calls:2|c"):
            one.take(datagram, T)
        assert one.flush(T) == []
        points = one.flush(T + 10 * 10**9)
    assert one.failures == 3
    assert [point.fields for point in points if point.measurement == "statsd_counter"] == [
        {"value": 3.0}
    ]
    assert [entry["event"] for entry in logs] == ["a datagram failed", "a flush failed"]
    # Where it failed, never what was sent.
    assert "bad" not in str(logs)


def test_state_that_cannot_be_read_begins_anew() -> None:
    before = Station(Asterisk("one"), shipped())
    before.take(b"up:5|g", T)
    before.flush(T)
    known = {key: text for key, text in before.aggregator.changed().items() if text is not None}
    (gauge,) = [key for key in known if "statsd_gauge" in key and "gauge" in key.split(",")[0]]
    whole = Station(Asterisk("one"), shipped())
    whole.restore(known, T, lost=True)
    for broken in ("no JSON", "[]", "7", "null"):
        after = Station(Asterisk("one"), shipped())
        with capture_logs() as logs:
            after.restore(known | {gauge: broken}, T, lost=True)
        assert [entry["asterisk"] for entry in logs] == ["one"]
        after.take(b"up:+1|g", T)
        (value,) = [
            point.fields["value"]
            for point in after.flush(T + 10**10)
            if point.measurement == "statsd_gauge"
        ]
        assert value == 1.0
