"""Memory of the StatsD intake is bounded, every drop has a name, and budgets are fair."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from collector.intakes.statsd import aggregate, budget
from collector.intakes.statsd.aggregate import Aggregator
from collector.intakes.statsd.drops import Drop, Ignored
from collector.intakes.statsd.gauges import MOST_WRONG
from collector.intakes.statsd.mapping import read, shipped
from collector.lines import Point
from tests.length import repeat

START_NS = 1_795_622_400 * 10**9
FLUSH_NS = 10 * 10**9
DAY_NS = 86_400 * 10**9


class Sender:
    """Sends datagrams to an aggregator, which flushes every 10 s."""

    def __init__(self, mapping: str = "") -> None:
        self.aggregator = Aggregator("pbx", read(mapping) if mapping else shipped())
        self.now = START_NS

    def send(self, *datagrams: str) -> None:
        for datagram in datagrams:
            self.aggregator.take(datagram.encode(), self.now)

    def flush(self, after_ns: int = FLUSH_NS) -> dict[tuple[str, ...], Point]:
        self.now += after_ns
        return {
            (p.measurement, *(v for k, v in p.tags.items() if k != "asterisk")): p
            for p in self.aggregator.flush(self.now)
        }

    @property
    def drops(self) -> dict[Drop, int]:
        return dict(self.aggregator.counts.drops)


def test_half_a_budget_is_for_any_name_and_the_rest_for_those_that_come_again() -> None:
    sender = Sender()
    sender.send(*(f"made.up.{at}:+1|g" for at in range(budget.SERIES)))
    assert len(sender.flush()) == budget.SERIES // 2 + 1
    assert sender.drops == {Drop.OVER_BUDGET: budget.SERIES // 2}
    for _ in range(budget.ROUNDS - 1):
        sender.send("real:5|g", *(f"other.{random.random()}:1|g" for _ in range(700)))
        assert ("statsd_gauge", "real") not in sender.flush()
    sender.send("real:5|g")
    assert sender.flush()["statsd_gauge", "real"].fields == {"value": 5}


def test_counters_and_timers_over_their_budget_are_stored_as_other() -> None:
    sender = Sender()
    sender.send(*(f"c{at}:1|c" for at in range(900)), *(f"t{at}:5|ms" for at in range(900)))
    stored = sender.flush()
    assert stored["statsd_counter", "other"].fields == {"value": 400}
    assert stored["statsd_timer", "other"].fields["count"] == 400
    assert sender.aggregator.counts.ignored[Ignored.AS_OTHER] == 800
    assert sender.drops == {}


def test_sets_over_their_budget_are_dropped() -> None:
    sender = Sender()
    sender.send(*(f"s{at}:x|s" for at in range(600)))
    assert len(sender.flush()) == 501
    assert sender.drops == {Drop.OVER_BUDGET: 100}


def test_name_that_has_not_come_for_a_week_gives_its_place_away() -> None:
    sender = Sender()
    for at in range(budget.SERIES // 2):
        sender.send(f"old{at}:1|g")
    for _ in range(budget.ROUNDS):
        for at in range(budget.SERIES // 2):
            sender.send(f"regular{at}:1|g")
        sender.flush()
    assert len(sender.flush()) == budget.SERIES + 1
    for _ in range(budget.IDLE_DAYS + 2):
        sender.send(*(f"regular{at}:1|g" for at in range(budget.SERIES // 2)))
        sender.flush(DAY_NS)
    for _ in range(budget.ROUNDS):
        sender.send("new:1|g")
        sender.flush()
    stored = sender.flush()
    assert ("statsd_gauge", "new") in stored
    assert len(stored) == budget.SERIES + 1
    assert ("statsd_gauge", "regular0") in stored
    # The memory is told as well, so that the place is not given twice after a restart.
    changed = sender.aggregator.changed()
    assert any(text is None for key, text in changed.items() if key.startswith('["place"'))


def test_places_are_remembered_over_a_restart() -> None:
    first, second = Sender(), Sender()
    first.send(*(f"c{at}:1|c" for at in range(budget.SERIES // 2)))
    saved = {key: text for key, text in first.aggregator.changed().items() if text is not None}
    second.aggregator.restore(saved, second.now)
    second.send("c5:1|c", "new:1|c")
    stored = second.flush()
    assert ("statsd_counter", "c5") in stored
    assert ("statsd_counter", "new") not in stored


def test_long_names_stay_apart_and_short_enough() -> None:
    sender = Sender()
    sender.send(f"{'x' * 100}a:1|c", f"{'x' * 100}b:1|c", f"{'y' * 60_000}:1|c")
    names = [key[1] for key in sender.flush() if key[0] == "statsd_counter"]
    assert len(set(names)) == 3
    assert max(map(len, names)) <= 64


def test_tags_of_a_line_are_stored_but_for_reserved_ones() -> None:
    rules = """
    mappings:
    - {match: a, name: m, labels: {env: mine}}
    - {match: b, name: m, labels: {env: mine}, honor_labels: true}
    """
    sender = Sender(rules)
    sender.send("a:1|c|#env:dev,region:eu", "b:1|c|#env:dev", "c:1|c|#name:x,asterisk:y,env:dev")
    stored = sender.flush()
    tags = sorted(tuple(sorted(p.tags.items())) for p in stored.values() if len(p.tags) > 1)
    assert tags == [
        (("asterisk", "pbx"), ("env", "dev")),
        (("asterisk", "pbx"), ("env", "dev"), ("name", "c")),
        (("asterisk", "pbx"), ("env", "mine"), ("region", "eu")),
    ]
    assert sender.aggregator.counts.ignored[Ignored.BAD_TAG] == 2


def test_types_that_a_rule_maps_to_one_series_conflict_and_are_counted() -> None:
    sender = Sender("mappings: [{match: '*', name: m}]")
    sender.send("a:1|g", "b:1|c", "c:5|ms", "d:2|g")
    assert sender.flush()["m",].fields["value"] == 2
    assert sender.drops == {Drop.TYPE_CONFLICT: 2}


def test_bad_values_of_a_name_that_is_known_are_dropped_by_name() -> None:
    sender = Sender()
    rtt = f"PJSIP.contacts.a;@{'0a' * 16}.rtt"
    for value in ("1", "x", "-2"):
        sender.send(f"c:{value}|c", f"g:{value}|g", f"t:{value}|ms", f"{rtt}:{value}|ms")
        sender.send(f"h:{value}|h")
    assert sender.drops == {Drop.BAD_VALUE: 5, Drop.NEGATIVE_TIME: 2}
    assert sender.flush()["statsd_counter", "c"].fields == {"value": -1}


def test_measurements_that_names_make_are_bounded() -> None:
    sender = Sender("mappings: [{match: a.*, name: m_$1}]")
    sender.send(*(f"a.{at}:1|g" for at in range(budget.MEASUREMENTS + 50)))
    # The traffic's own is no name's.
    assert len(sender.flush()) == budget.MEASUREMENTS + 1
    assert sender.drops == {Drop.OVER_BUDGET: 50}


def test_points_that_are_marked_afterwards_are_bounded() -> None:
    sender = Sender()
    for at in range(400):
        sender.send(f"g{at}:+1|g")
    for _ in range(60):
        sender.flush()
    sender.send("PJSIP.contacts.states.Reachable:0|g")
    sender.now += FLUSH_NS
    assert len(sender.aggregator.flush(sender.now)) < MOST_WRONG + 600


def test_datagram_of_too_many_lines_is_cut_and_counted() -> None:
    sender = Sender()
    sender.send("a:1|c\n" * 30_000)
    assert sender.flush()["statsd_counter", "a"].fields == {"value": 10_000}
    assert sender.drops == {Drop.TOO_LONG: 1}


@pytest.mark.no_cover  # the slow repetition of what other tests cover
def test_memory_is_flat_whatever_names_and_values_arrive() -> None:
    rng = random.Random(1)
    sender = Sender()
    forms = (
        lambda n: f"{n}:1|c",
        lambda n: f"{n}:+1|g",
        lambda n: f"{n}:{n}|ms",
        lambda n: f"fixed:{n}|s",
        lambda n: f"a:1|c|#tag{n % 50}:{n}",
        lambda n: f"p{n}.channels.count:+1|g",
        lambda n: f"p{n}.PJSIP.contacts.states.Reachable:+1|g",
        lambda n: f"PJSIP.contacts.a{n};@{'0a' * 16}.rtt:{n % 900}|ms",
        lambda n: f"x:{n}:y.{n}:1|c",
        lambda n: f"{'z' * 280}{n}:1|c",
        lambda n: f"{'z' * 2000}{n}:1|c",
        lambda n: f"meter{n}_meter:1|c",
    )

    def fill(rounds: int) -> None:
        for at in range(rounds):
            sender.send(rng.choice(forms)(rng.randrange(10**9)))
            if at % 10_000 == 9999:
                sender.flush()
                sender.aggregator.changed()

    fill(40_000)
    tracemalloc.start()
    try:
        fill(repeat(10_000, 1_000_000))
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 12 << 20
    assert len(sender.flush()) < 6000
    assert aggregate.MOST_NAMES >= 10_000
