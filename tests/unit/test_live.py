from __future__ import annotations

from collections.abc import Mapping

from collector.intakes.live import TrueState, entries, grid, until_next
from collector.intakes.series import Series
from collector.lines import Point, parse
from collector.schema import LIVE, RAW

T = 1_764_000_000 * 10**9


def test_flushes_are_on_multiples_of_the_interval() -> None:
    assert grid(T, 10) == T
    assert grid(T + 9_999_999_999, 10) == T
    assert grid(T + 10 * 10**9, 10) == T + 10 * 10**9
    assert until_next(T, 10) == 10
    assert until_next(T + 4 * 10**9, 10) == 6


def test_flush_is_the_same_lines_whenever_it_is_written_and_collectors_never_collide() -> None:
    points = [Point("channels", {"asterisk": "a b"}, {"count": float(n)}, T) for n in range(2500)]
    flush = list(entries(points, sender="statsd", received_ns=T + 5, instance=3))
    again = list(entries(points, sender="statsd", received_ns=T + 99, instance=3))
    assert [entry.lines for entry in flush] == [entry.lines for entry in again]
    assert [entry.points for entry in flush] == [1000, 1000, 500]
    for entry in flush:
        assert (entry.target, entry.sender, entry.server) == (LIVE, "statsd", None)
        assert entry.target != RAW
    lines = [line for entry in flush for line in entry.lines.decode().split("\n")]
    assert [parse(line).fields["count"] for line in lines] == [float(n) for n in range(2500)]
    assert {parse(line).time for line in lines} == {T + 3}
    assert parse(lines[0]).tags == {"asterisk": "a b"}


def test_flush_without_points_has_no_entry() -> None:
    assert list(entries([], sender="statsd", received_ns=T, instance=0)) == []


def test_truth_reaches_all_who_ask_until_they_stop() -> None:
    hub, heard = TrueState(), []

    def listen(asterisk: str, values: Mapping[Series, float]) -> None:
        heard.append((asterisk, dict(values)))

    online = Series.of("endpoints", state="online")
    assert online == Series("endpoints", (("state", "online"),))
    hub.truth("a", {online: 3.0})
    stop = hub.subscribe(listen)
    hub.truth("a", {online: 4.0})
    stop()
    hub.truth("a", {online: 5.0})
    assert heard == [("a", {online: 4.0})]
