"""Captures of a real Asterisk replayed, without sockets: what is stored is what was true."""

from __future__ import annotations

from collections.abc import Mapping

from collector.intakes.statsd.aggregate import Aggregator
from collector.intakes.statsd.mapping import shipped
from tests.captures import STATSD, read_capture

Fields = Mapping[str, float | int | str]

START_NS = 1_795_622_400 * 10**9


def at(seconds: float) -> int:
    """A second of a capture in ns since 1970."""
    return START_NS + round(seconds * 1000) * 10**6


def replayed(name: str) -> dict[tuple[str, ...], Fields]:
    """The points of one flush after all datagrams of a capture, by measurement and tag values."""
    aggregator = Aggregator("pbx", shipped())
    (path,) = (path for path in STATSD if path.name == f"{name}.txt")
    seconds = 0.0
    for seconds, datagram in read_capture(path).received():
        aggregator.take(datagram, at(seconds))
    points = aggregator.flush(at(seconds + 1))
    return {
        (point.measurement, *(value for tag, value in point.tags.items() if tag != "asterisk")): (
            point.fields
        )
        for point in points
    }


def test_endpoints_are_counted_once_after_asterisk_was_killed() -> None:
    stored = replayed("03-endpoint-stats")
    assert stored["endpoints", "all"] == {"count": 8}
    assert stored["endpoints", "online"] == {"count": 5}
    assert stored["endpoints", "offline"] == {"count": 2}
    assert stored["endpoints", "unknown"] == {"count": 1}


def test_dialplan_that_decrements_twice_is_counted_as_underflow_and_uncertain() -> None:
    stored = replayed("01-confbridge-seed")
    users = stored["statsd_gauge", "confBridgeUsers"]
    assert users["value"] == 0
    assert "uncertain" in users
    assert stored["statsd_traffic",]["underflows"] == 2


def test_dialplan_that_decrements_in_the_hangup_handler_alone_is_right() -> None:
    stored = replayed("01d-confbridge-fixed")
    assert stored["statsd_gauge", "confBridgeUsers"] == {"value": 0}
    assert stored["statsd_traffic",]["underflows"] == 0
