"""Gauges over starts of Asterisk and of the collector: right, or marked as uncertain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product

import pytest

from collector.intakes.series import Series
from collector.intakes.statsd import gauges
from collector.intakes.statsd.aggregate import Aggregator
from collector.intakes.statsd.mapping import read, shipped

START_NS = 1_795_622_400 * 10**9
CHANNELS = Series("channels")
CONTACTS = ("Unreachable", "Reachable", "Unknown", "NonQualified", "Removed")
REGISTRATIONS = ("count", "state.Registered", "state.Unregistered", "state.Rejected")

Sent = Iterable[tuple[float, str]]


def at(seconds: float) -> int:
    return START_NS + round(seconds * 1e9)


class Pbx:
    """An Asterisk whose datagrams are written down here, and the aggregator that gets them."""

    def __init__(self, prefix: str = "", aggregator: Aggregator | None = None) -> None:
        self.prefix = prefix
        self.aggregator = aggregator or Aggregator("pbx", shipped())

    def send(self, second: float, *metrics: str) -> None:
        for metric in metrics:
            self.aggregator.take(f"{self.prefix}{metric}".encode(), at(second))

    def zeros(self, second: float) -> None:
        self.send(second, *(f"PJSIP.contacts.states.{state}:0|g" for state in CONTACTS))
        self.send(second + 0.05, *(f"PJSIP.registrations.{name}:0|g" for name in REGISTRATIONS))

    def endpoints(self, second: float, number: int, sign: str = "+") -> None:
        for _ in range(number):
            self.send(second, f"endpoints.count:{sign}1|g", f"endpoints.state.offline:{sign}1|g")

    def gauge(self, second: float, measurement: str, tag: str = "") -> Mapping[str, object]:
        """The fields of a gauge in a flush."""
        return self.gauges(second)[measurement, tag]

    def gauges(self, second: float) -> dict[tuple[str, str], Mapping[str, object]]:
        return {
            (p.measurement, "".join(v for k, v in p.tags.items() if k != "asterisk")): p.fields
            for p in self.aggregator.flush(at(second))
            if p.time == at(second)
        }


def test_gauges_of_a_killed_asterisk_are_zero_after_its_start() -> None:
    pbx = Pbx()
    pbx.zeros(1)
    pbx.send(5, *["channels.count:+1|g"] * 8, *["confBridgeUsers:+1|g"] * 3)
    pbx.send(5, "endpoints.PJSIP.alice.channels:2|g")
    assert pbx.gauge(6, "channels") == {"count": 8}
    pbx.zeros(12)
    assert pbx.gauge(13, "channels") == {"count": 0}
    assert pbx.gauge(13, "statsd_gauge", "confBridgeUsers") == {"value": 0}
    assert pbx.gauge(13, "endpoint_channels", "PJSIP/alice") == {"count": 0}
    assert pbx.aggregator.counts.restarts == 2
    assert pbx.aggregator.counts.underflows == 0


@pytest.mark.parametrize("pause", [0.1, 0.5, 3.0])
def test_endpoints_are_counted_once_whatever_the_order_in_which_modules_load(
    pause: float,
) -> None:
    # Whether the zeros come first in each of three lives, and how each life ends.
    for orders in product([True, False], repeat=3):
        for life in (4.0, 40.0):
            pbx = Pbx()
            second = 1.0
            for zeros_first in orders:
                if zeros_first:
                    pbx.zeros(second)
                    pbx.endpoints(second + pause, 8)
                else:
                    pbx.endpoints(second, 8)
                    pbx.zeros(second + pause)
                second += pause + 0.2
                assert pbx.gauge(second, "endpoints", "all") == {"count": 8}, (orders, life)
                pbx.send(
                    second + 0.5, "endpoints.state.offline:-1|g", "endpoints.state.online:+1|g"
                )
                assert pbx.gauge(second + 1, "endpoints", "online") == {"count": 1}
                second += life
            assert pbx.aggregator.counts.underflows == 0


def test_asterisk_that_crashes_at_each_start_is_counted_once() -> None:
    pbx = Pbx()
    for second in range(1, 21, 2):
        pbx.zeros(second)
        pbx.endpoints(second + 0.3, 8)
        assert pbx.gauge(second + 0.4, "endpoints", "all") == {"count": 8}


def test_endpoints_that_the_module_adds_again_are_certain_and_those_of_a_reload_are_not() -> None:
    pbx = Pbx()
    pbx.zeros(1)
    pbx.endpoints(1.1, 8)
    pbx.endpoints(50, 8, "-")
    assert pbx.gauge(51, "endpoints", "all") == {"count": 0, "uncertain": 1}
    pbx.endpoints(60, 8)
    assert pbx.gauge(61, "endpoints", "all") == {"count": 8}
    assert pbx.gauge(61, "endpoints", "offline") == {"count": 8}
    pbx.endpoints(90, 1)
    assert pbx.gauge(95, "endpoints", "all") == {"count": 9, "uncertain": 5}


def test_single_endpoint_that_is_taken_away_leaves_the_others_certain() -> None:
    pbx = Pbx()
    pbx.zeros(1)
    pbx.endpoints(1.1, 8)
    pbx.endpoints(50, 1, "-")
    pbx.endpoints(60, 1, "-")
    assert pbx.gauge(61, "endpoints", "all") == {"count": 6}


def test_module_of_channels_loaded_again_marks_the_channels() -> None:
    subscribed = "stasis.message.stasis_subscription_change_type:1|m"
    pbx = Pbx()
    pbx.send(0.9, subscribed)
    pbx.zeros(1)
    pbx.send(1.2, subscribed)
    pbx.send(10, "channels.count:+1|g", "channels.count:+1|g")
    assert pbx.gauge(11, "channels") == {"count": 2}
    pbx.send(20, subscribed)
    assert pbx.gauge(22, "channels") == {"count": 2, "uncertain": 2}


def test_module_of_registrations_loaded_again_resets_no_calls_but_marks_them() -> None:
    pbx = Pbx()
    pbx.zeros(1)
    pbx.send(5, *["channels.count:+1|g"] * 4)
    pbx.send(100, *(f"PJSIP.registrations.{name}:0|g" for name in REGISTRATIONS))
    assert pbx.gauge(102, "channels") == {"count": 4, "uncertain": 2}
    assert pbx.gauge(102, "pjsip_registrations", "all") == {"count": 0}
    # If it was a start after all, the zeros of the contacts tell.
    pbx.send(103, "PJSIP.contacts.states.Reachable:0|g")
    assert pbx.gauge(104, "channels") == {"count": 0}


def test_without_pjsip_relative_gauges_are_uncertain_and_absolute_ones_are_not() -> None:
    pbx = Pbx()
    pbx.send(10, "channels.count:+1|g", "lines.busy:+4|g", "load:3.5|g")
    assert pbx.gauge(13, "channels") == {"count": 1, "uncertain": 3}
    assert pbx.gauge(13, "statsd_gauge", "lines.busy") == {"value": 4, "uncertain": 3}
    assert pbx.gauge(13, "statsd_gauge", "load") == {"value": 3.5}


def test_gauge_that_begins_after_a_seen_start_is_certain() -> None:
    pbx = Pbx()
    pbx.zeros(1)
    pbx.send(500, "lines.busy:+1|g")
    assert pbx.gauge(501, "statsd_gauge", "lines.busy") == {"value": 1}


def test_gauge_that_is_set_is_kept_over_a_start_and_marked_until_it_is_set_again() -> None:
    pbx = Pbx()
    pbx.zeros(1)
    pbx.send(5, "licences:30|g")
    pbx.zeros(100)
    assert pbx.gauge(103, "statsd_gauge", "licences") == {"value": 30, "uncertain": 3}
    pbx.send(104, "licences:31|g")
    assert pbx.gauge(105, "statsd_gauge", "licences") == {"value": 31}


def test_underflow_is_floored_counted_and_marked() -> None:
    pbx = Pbx()
    pbx.zeros(1)
    pbx.send(5, "lines.busy:+1|g", "lines.busy:-1|g", "lines.busy:-1|g")
    assert pbx.gauge(9, "statsd_gauge", "lines.busy") == {"value": 0, "uncertain": 4}
    assert pbx.aggregator.counts.underflows == 1
    pbx.send(10, "PJSIP.contacts.states.Reachable:-1|g")
    assert pbx.gauge(11, "pjsip_contacts", "Reachable")["count"] == 0
    assert pbx.aggregator.counts.underflows == 2


def test_fractions_that_return_to_zero_are_no_underflow() -> None:
    pbx = Pbx()
    pbx.zeros(1)
    pbx.send(5, "load:+0.1|g", "load:+0.2|g", "load:-0.3|g", "load:-0.00000000000000003|g")
    assert pbx.gauge(6, "statsd_gauge", "load") == {"value": pytest.approx(0, abs=1e-15)}
    assert pbx.aggregator.counts.underflows == 0


def test_sampled_change_of_a_gauge_is_marked() -> None:
    pbx = Pbx()
    pbx.zeros(1)
    pbx.send(5, "lines:+1|g|@0.50", "other:5|g|@0.90")
    assert pbx.gauge(6, "statsd_gauge", "lines") == {"value": 1, "uncertain": 1}
    assert pbx.gauge(6, "statsd_gauge", "other") == {"value": 5}


def test_lost_datagrams_mark_every_gauge_until_a_start_a_truth_or_a_value() -> None:
    pbx = Pbx()
    pbx.zeros(1)
    pbx.send(5, "channels.count:+1|g", "a:+1|g", "load:3|g")
    pbx.aggregator.lost(at(6))
    marked = pbx.gauges(8)
    assert all(marked[key]["uncertain"] == 2 for key in marked if key[0] != "statsd_traffic")
    pbx.aggregator.truth(CHANNELS, 4, at(9))
    pbx.aggregator.truth(Series.of("calls", kind="none"), 4, at(9))
    pbx.send(9, "load:4|g")
    assert pbx.gauge(10, "channels") == {"count": 4}
    assert pbx.gauge(10, "statsd_gauge", "load") == {"value": 4}
    assert pbx.gauge(10, "statsd_gauge", "a") == {"value": 1, "uncertain": 4}
    # A gauge that begins now may have had changes that were lost.
    pbx.send(11, "b:+1|g")
    assert "uncertain" in pbx.gauge(12, "statsd_gauge", "b")
    pbx.zeros(20)
    assert "uncertain" not in pbx.gauge(21, "statsd_gauge", "a")


def test_silence_marks_what_is_not_zero_and_ends_with_the_next_datagram() -> None:
    pbx = Pbx()
    pbx.zeros(1)
    pbx.send(2, "channels.count:+1|g", "a:+1|g", "a:-1|g")
    pbx.send(12, "calls:1|c")
    assert pbx.gauge(20, "channels") == {"count": 1}
    assert pbx.gauge(40, "channels") == {"count": 1}
    # 20 s, or three times the longest pause (10 s). Flushes since the last datagram are marked too.
    points = pbx.aggregator.flush(at(43))
    assert [(p.time, p.fields) for p in points if p.measurement == "channels"] == [
        (at(43), {"count": 1, "uncertain": 31}),
        (at(20), {"uncertain": 8}),
        (at(40), {"uncertain": 28}),
    ]
    assert pbx.gauge(44, "statsd_gauge", "a") == {"value": 0}
    assert len([p for p in pbx.aggregator.flush(at(45)) if p.measurement == "channels"]) == 1
    pbx.send(50, "calls:1|c")
    assert pbx.gauge(51, "channels") == {"count": 1}
    # It has been silent for 38 s before: that is no sign any more.
    assert pbx.gauge(100, "channels") == {"count": 1}


def test_gauge_that_ami_knows_is_certain_though_no_datagram_comes() -> None:
    pbx = Pbx()
    pbx.zeros(1)
    pbx.send(2, "channels.count:+1|g", "a:+1|g")
    pbx.aggregator.truth(CHANNELS, 2, at(40))
    assert pbx.gauge(60, "channels") == {"count": 2}
    assert pbx.gauge(60, "statsd_gauge", "a") == {"value": 1, "uncertain": 58}
    assert pbx.gauge(75, "channels") == {"count": 2, "uncertain": 35}


def test_values_of_the_time_in_which_asterisk_was_down_are_marked_afterwards() -> None:
    pbx = Pbx()
    pbx.zeros(1)
    pbx.send(9, "channels.count:+1|g", "a:+1|g", "a:-1|g")
    pbx.gauges(10)
    pbx.gauges(20)
    pbx.zeros(25)
    late = [p for p in pbx.aggregator.flush(at(30)) if p.time != at(30)]
    assert [(p.measurement, p.fields, p.time) for p in late] == [
        ("channels", {"uncertain": 1}, at(10)),
        ("channels", {"uncertain": 11}, at(20)),
    ]


def test_prefix_is_recognised_and_may_change_in_the_middle() -> None:
    pbx = Pbx("pbx1.berlin.")
    pbx.zeros(1)
    pbx.send(2, "channels.count:+1|g", "channels.count:+1|g")
    pbx.send(2, "stasis.message.ast_channel_snapshot_type:1|m", "calls:1|c")
    other = Pbx("größe.", pbx.aggregator)
    other.send(3, "stasis.message.ast_channel_snapshot_type:1|m", "channels.count:-1|g")
    assert other.gauge(4, "channels") == {"count": 1}
    other.zeros(10)
    assert other.gauge(11, "channels") == {"count": 0}


def test_metric_of_a_dialplan_that_ends_like_asterisks_own_is_not_taken_for_it() -> None:
    pbx = Pbx()
    pbx.zeros(1)
    pbx.send(2, "conference.channels.count:+5|g", "channels.count:+1|g")
    assert pbx.gauge(3, "channels") == {"count": 1}
    assert pbx.gauge(3, "statsd_gauge", "conference.channels.count") == {"value": 5}


def test_start_is_recognised_though_a_rule_drops_its_zeros() -> None:
    rules = "mappings: [{match: PJSIP.*.*.*, action: drop}, {match: PJSIP.*.*, action: drop}]"
    pbx = Pbx(aggregator=Aggregator("pbx", read(rules)))
    pbx.zeros(1)
    pbx.send(2, "calls.up:+3|g")
    pbx.zeros(9)
    assert pbx.gauge(10, "statsd_gauge", "calls.up") == {"value": 0}
    assert pbx.aggregator.counts.restarts == 2
    assert [key for key in pbx.gauges(11) if key[0] != "statsd_traffic"] == [
        ("statsd_gauge", "calls.up")
    ]


MAPPINGS = """
mappings:
- {match: channels.count, name: channels, field: alive}
- {match: queue.*.waiting, name: my_queues, field: waiting, labels: {queue: $1}}
- {match: gone.*, action: drop}
- {match: one.*, name: together}
"""


def sent_before_another_mapping() -> Pbx:
    pbx = Pbx()
    pbx.zeros(1)
    pbx.send(2, "channels.count:+1|g", "a.b:+2|g", "queue.sales.waiting:+3|g|#site:x")
    pbx.send(2, "gone.x:+1|g", "one.a:+1|g", "one.b:+1|g", "c:1|c")
    return pbx


def check_after_another_mapping(pbx: Pbx, second: float) -> None:
    pbx.send(second, "channels.count:+1|g", "a.b:+2|g", "queue.sales.waiting:-1|g|#site:x")
    stored = pbx.gauges(second + 1)
    assert stored["channels", ""]["alive"] == 2
    assert stored["statsd_gauge", "a.b"]["value"] == 4
    assert stored["my_queues", "salesx"]["waiting"] == 2
    # Two gauges that are one now: which of them is right is not known.
    assert "uncertain" in stored["together", ""]
    left = {name for measurement, name in stored if measurement == "statsd_gauge"}
    assert {name for name in left if not name.startswith("PJSIP.")} == {"a.b"}


def test_gauges_go_on_under_another_mapping() -> None:
    pbx = sent_before_another_mapping()
    pbx.aggregator.remap(read(MAPPINGS))
    check_after_another_mapping(pbx, 3)
    assert "uncertain" not in pbx.gauge(5, "my_queues", "salesx")
    pbx.aggregator.remap(shipped())
    assert pbx.gauge(6, "channels") == {"count": 2}
    assert pbx.gauge(6, "statsd_gauge", "queue.sales.waitingx")["value"] == 2


def test_gauges_go_on_where_the_mapping_changed_before_a_restart() -> None:
    pbx = sent_before_another_mapping()
    saved = {key: text for key, text in pbx.aggregator.changed().items() if text is not None}
    again = Pbx(aggregator=Aggregator("pbx", read(MAPPINGS)))
    again.aggregator.restore(saved, at(3), lost=False)
    check_after_another_mapping(again, 4)
    # The memory deletes the old keys.
    assert any(text is None for text in again.aggregator.changed().values())


class TestMemory:
    def held(self, *pbxs: Pbx) -> dict[str, str]:
        held: dict[str, str | None] = {}
        for pbx in pbxs:
            held |= pbx.aggregator.changed()
        return {key: text for key, text in held.items() if text is not None}

    def test_gauges_survive_and_are_uncertain_since_the_last_saved_datagram(self) -> None:
        pbx = Pbx("x.")
        pbx.zeros(1)
        pbx.send(5, "channels.count:+1|g", "load:3|g", "balance:0|g", "balance:-7|g")
        again = Pbx("x.")
        again.aggregator.restore(self.held(pbx), at(8))
        assert again.gauge(10, "channels") == {"count": 1, "uncertain": 5}
        again.send(11, "channels.count:+1|g", "x.load:4|g", "balance:-1|g")
        assert again.gauge(12, "channels") == {"count": 2, "uncertain": 7}
        assert again.gauge(12, "statsd_gauge", "x.balance") == {"value": -8, "uncertain": 7}
        again.zeros(20)
        assert again.gauge(21, "channels") == {"count": 0}

    def test_nothing_is_uncertain_where_nothing_was_lost(self) -> None:
        pbx = Pbx()
        pbx.zeros(1)
        pbx.send(5, "channels.count:+1|g")
        again = Pbx()
        again.aggregator.restore(self.held(pbx), at(6), lost=False)
        again.send(7, "channels.count:+1|g", "new:+1|g")
        assert again.gauge(8, "channels") == {"count": 2}
        assert again.gauge(8, "statsd_gauge", "new") == {"value": 1}

    def test_only_changes_are_saved_and_what_is_forgotten_is_deleted(self) -> None:
        pbx = Pbx()
        pbx.send(1, "load:3|g", "lines:+1|g")
        assert len(self.held(pbx)) >= 3
        assert pbx.aggregator.changed() == {}
        pbx.send(2, "load:4|g")
        assert len([key for key in pbx.aggregator.changed() if "gauge" in key]) == 1
        month = gauges.IDLE_DAYS * 86_400 + 10
        pbx.send(month, "lines:+1|g")
        pbx.gauges(month)
        assert [key for key, text in pbx.aggregator.changed().items() if text is None]
        assert ("statsd_gauge", "load") not in pbx.gauges(month + 1)
        pbx.send(month + 2, "load:5|g")
        assert pbx.gauge(month + 3, "statsd_gauge", "load") == {"value": 5}

    def test_gauge_that_was_forgotten_with_a_value_comes_back_uncertain(self) -> None:
        pbx = Pbx()
        pbx.zeros(1)
        pbx.send(2, "channels.count:+1|g")
        week = gauges.SILENT_DAYS * 86_400 + 10
        pbx.gauges(week)
        pbx.send(week + 1, "channels.count:+1|g")
        assert pbx.gauge(week + 3, "channels") == {"count": 1, "uncertain": 2}

    def test_gauges_of_an_asterisk_that_is_gone_are_stored_no_longer(self) -> None:
        pbx = Pbx()
        pbx.zeros(1)
        week = gauges.SILENT_DAYS * 86_400
        assert ("pjsip_contacts", "Reachable") in pbx.gauges(week)
        assert list(pbx.gauges(week + 10)) == [("statsd_traffic", "")]

    def test_restored_without_anything_saved_is_a_new_beginning(self) -> None:
        pbx = Pbx()
        pbx.aggregator.restore({}, at(1))
        pbx.zeros(2)
        pbx.send(3, "channels.count:+1|g")
        assert pbx.gauge(4, "channels") == {"count": 1}
