"""Captures of a real Asterisk replayed without sockets: what is stored is what was true.

A capture is replayed in its own time, with a flush each 0.1 s and after each datagram. What
Asterisk said of itself (`TRUTH`) is what is stored for that moment, or that says `uncertain`.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from collector.intakes.statsd.aggregate import Aggregator
from collector.intakes.statsd.drops import Drop
from collector.intakes.statsd.mapping import shipped
from tests.length import repeat, seed
from tools.replay.captures import CASES, STATSD, Capture, read_capture

START_NS = 1_795_622_400 * 10**9
FLUSH = 0.1
AT_ONCE = 0.3
"""Asterisk's own metrics, and answers of its command line, agree within this time, in s."""
AWAY = 0.5
PROMPT = 1.2
"""A dialplan's metric comes before or after the prompt of the conference or queue, in s."""

Key = tuple[str, str]
"""Measurement, and the value of its tag."""
Claim = tuple[Key, float, float]
"""What a series should be, and how long that may take."""

STATES = {"Avail": "Reachable", "Unavail": "Unreachable", "NonQual": "NonQualified"}
CONTACT_STATES = ("Reachable", "Unreachable", "NonQualified", "Unknown")
REGISTRATION_STATES = ("Registered", "Unregistered", "Rejected")


def at(seconds: float) -> int:
    """A second of a capture in ns since 1970."""
    return START_NS + round(seconds * 1000) * 10**6


class Replay:
    """All that a replay stores: by series, the fields of each flush in order."""

    def __init__(self, capture: Capture, killed: float = 1e9) -> None:
        """Replay a capture; at the second `killed`, the collector is killed and starts anew.

        What came in `AWAY` is lost, and so is what came since the memory was written last.
        """
        self.stored: dict[Key, list[tuple[int, dict[str, float | int | str]]]] = {}
        self.aggregator = Aggregator("pbx", shipped())
        last = capture.remarks[-1].at if capture.remarks else 0.0
        saved: dict[str, str | None] = {}
        flushes = 0
        for seconds, datagram in [*capture.received(), (last + 2 * PROMPT, b"")]:
            while flushes * FLUSH <= seconds:
                now = flushes * FLUSH
                flushes += 1
                if killed <= now < killed + AWAY:
                    continue
                if now >= killed + AWAY:
                    self.aggregator = Aggregator("pbx", shipped())
                    held = {key: text for key, text in saved.items() if text is not None}
                    self.aggregator.restore(held, at(now))
                    killed = 1e9
                self._flush(at(now))
                if flushes % 10 == 0:
                    saved |= self.aggregator.changed()
            if not killed <= seconds:
                self.aggregator.take(datagram, at(seconds))
                self._flush(at(seconds))
        self.counts = self.aggregator.counts
        self.compared = 0
        """How many claims were compared with what is stored; others are of series not there."""

    def _flush(self, now_ns: int) -> None:
        for point in self.aggregator.flush(now_ns):
            tag = "".join(value for name, value in point.tags.items() if name != "asterisk")
            flushes = self.stored.setdefault((point.measurement, tag), [])
            if point.time == now_ns:
                flushes.append((now_ns, dict(point.fields)))
            else:
                # InfluxDB merges the fields of one time.
                for time, fields in flushes:
                    if time == point.time:
                        fields.update(point.fields)

    def fields(self, key: Key, since: float, until: float) -> Iterator[Mapping[str, object]]:
        """What is stored of a series in a span of time, and what was valid when it began."""
        flushes = self.stored.get(key, [])
        times = [time for time, _ in flushes]
        first = bisect_left(times, at(since)) - 1
        if first < 0 and key[0] == "channels":
            # No channel has been there yet.
            yield {"count": 0.0}
        for _, fields in flushes[max(first, 0) : bisect_right(times, at(until))]:
            yield fields

    def total(self, key: Key, field: str = "value") -> float:
        """The sum of a field over all flushes."""
        return sum(float(fields[field]) for _, fields in self.stored[key] if field in fields)

    def last(self, key: Key) -> Mapping[str, object]:
        """The newest fields of a series."""
        return self.stored[key][-1][1]


@cache
def replay(name: str) -> Replay:
    return Replay(read_capture(path(name)))


def path(name: str) -> Path:
    (found,) = (one for one in STATSD if one.name == f"{name}.txt")
    return found


def truths(name: str) -> list[tuple[float, str]]:
    """What was true at which second; that of AMI's recordings is told in the session's file."""
    told = path(name)
    if told.name.endswith(".statsd.txt"):
        told = CASES / "ami" / told.name.replace(".statsd.", ".ami.")
    return [(truth.at, truth.text) for truth in read_capture(told).truths()]


def claims(text: str) -> Iterator[Claim]:
    """The values of series that a truth tells."""
    if found := re.match(r"conference 1000 now has (\d+) people", text):
        yield ("statsd_gauge", "confBridgeUsers"), float(found[1]), PROMPT
    if found := re.match(r"at the end: (\d+) people", text):
        yield ("statsd_gauge", "confBridgeUsers"), float(found[1]), PROMPT
    if found := re.match(r"waiting in queue support: (\d+)", text):
        yield ("statsd_gauge", "queue.support.waiting"), float(found[1]), PROMPT
    if found := re.match(r"(?:channels alive: |poll channels=)(\d+)", text):
        yield ("channels", ""), float(found[1]), AT_ONCE
    if found := re.search(r"(?:: |contacts=)(\d+) contacts?(?::([^\[]*))?", text):
        yield from _contacts(found[2] or "")
    if found := re.match(r"poll contacts=\d+ ([^\[]*)", text):
        yield from _contacts(found[1])
    if found := re.search(r"registrations \[([^\]]*)\]", text):
        states = Counter(one.partition(":")[2] for one in found[1].split())
        yield ("pjsip_registrations", "all"), float(states.total()), AT_ONCE
        for state in REGISTRATION_STATES:
            yield ("pjsip_registrations", state), float(states[state]), AT_ONCE
    if found := re.match(r"asterisk says .*?: (\S+=.*?) \| IAX2: (.*)", text):
        yield from _endpoints(found[1], found[2])


def _contacts(text: str) -> Iterator[Claim]:
    told = {STATES.get(name, name): float(n) for name, n in re.findall(r"(\w+)=(\d+)", text)}
    for state in CONTACT_STATES:
        # The command line calls a contact unknown while it is being removed.
        if state == "Unknown" and told.get(state):
            continue
        yield ("pjsip_contacts", state), told.get(state, 0.0), AT_ONCE


def _endpoints(pjsip: str, iax: str) -> Iterator[Claim]:
    states: Counter[str] = Counter()
    for name, state, channels in re.findall(r"([^\s,=]+)=([^/]+)/(\d+) ch", pjsip):
        states["offline" if state == "Unavailable" else "online"] += 1
        if int(channels) or state != "Unavailable":
            yield ("endpoint_channels", f"PJSIP/{name}"), float(channels), AT_ONCE
    for peer in iax.split(" ; "):
        told = peer.split()
        word = next(w for w in reversed(told) if not w.startswith("(") and not w.endswith(")"))
        is_online = " OK (" in peer
        known = {"UNREACHABLE": "offline"}.get(word, "unknown")
        states["online" if is_online else known] += 1
    for state in ("online", "offline", "unknown"):
        yield ("endpoints", state), float(states[state]), AT_ONCE
    yield ("endpoints", "all"), float(states.total()), AT_ONCE


def wrong(name: str, told: Replay, since: float = 0.0) -> list[str]:
    """The claims of a capture that are neither what is stored at that time, nor uncertain."""
    found = []
    for seconds, text in truths(name):
        if seconds < since:
            continue
        for key, value, delay in claims(text):
            before = delay if delay == PROMPT else 0.02
            fields = list(told.fields(key, seconds - before, seconds + delay))
            given = [one.get("count", one.get("value", 0.0)) for one in fields]
            told.compared += bool(fields)
            if fields and value not in given and not any("uncertain" in one for one in fields):
                found.append(f"{seconds} {key} is {given}, true was {value}: {text[:60]}")
    return found


TELLING = [
    "01d-confbridge-fixed",
    "02-chan-stats",
    "03-endpoint-stats",
    "04-pjsip-contacts",
    "07-call-centre",
    "02a-calls.statsd",
    "05-contacts-registrations.statsd",
]


@pytest.mark.parametrize("name", TELLING)
def test_each_truth_is_what_is_stored_at_that_moment_or_marked_uncertain(name: str) -> None:
    told = Replay(read_capture(path(name)))
    assert wrong(name, told) == []
    made = sum(1 for _, text in truths(name) for _ in claims(text))
    assert told.compared >= max(7, 0.95 * made)


@pytest.mark.no_cover  # the slow repetition of what other tests cover
@pytest.mark.parametrize("name", TELLING)
def test_truths_are_stored_or_marked_though_the_collector_is_killed_at_any_second(
    name: str,
) -> None:
    capture = read_capture(path(name))
    last = int(truths(name)[-1][0])
    for second in range(seed(0) % 7, last, repeat(max(last // 3, 1), 1)):
        told = Replay(capture, killed=second + 0.4)
        # Flushes of the time in which the collector is away are the old ones.
        assert wrong(name, told, second + 0.4 + AWAY + PROMPT) == [], second


def test_dialplan_that_decrements_twice_is_wrong_and_counted_as_underflow() -> None:
    seed = replay("01-confbridge-seed")
    # From 13.0 to 17.0 s one person was in the conference.
    shown = seed.fields(("statsd_gauge", "confBridgeUsers"), 14.5, 16.9)
    assert {one["value"] for one in shown} == {0}
    assert seed.counts.underflows == 2
    assert seed.last(("statsd_gauge", "confBridgeUsers"))["value"] == 0
    assert "uncertain" in seed.last(("statsd_gauge", "confBridgeUsers"))


def test_dialplan_that_decrements_in_the_hangup_handler_alone_is_right() -> None:
    fixed = replay("01d-confbridge-fixed")
    assert fixed.counts.underflows == 0
    assert not any(
        "uncertain" in fields for _, fields in fixed.stored["statsd_gauge", "confBridgeUsers"]
    )


def test_endpoints_are_certain_again_after_asterisk_was_killed() -> None:
    told = replay("03-endpoint-stats")
    assert told.counts.restarts == 2
    assert told.last(("endpoints", "all")) == {"count": 8}
    assert told.last(("endpoints", "online")) == {"count": 5}


def test_deleted_endpoint_that_stays_counted_is_marked_uncertain() -> None:
    # One was deleted and one added by the reload at 60.2 s; Asterisk sends the new one alone.
    fields = list(replay("03-endpoint-stats").fields(("endpoints", "all"), 61, 63))
    assert all(one["count"] == 9 and "uncertain" in one for one in fields)


def test_contacts_are_marked_uncertain_for_the_time_in_which_asterisk_was_down() -> None:
    fields = list(replay("04-pjsip-contacts").fields(("pjsip_contacts", "Reachable"), 78.5, 82.1))
    assert all("uncertain" in one for one in fields)
    assert not any(
        "uncertain" in one
        for one in replay("04-pjsip-contacts").fields(("pjsip_contacts", "Reachable"), 83, 94)
    )


def test_no_answer_is_counted_apart_and_is_no_time() -> None:
    told = replay("04-pjsip-contacts")
    answers = [
        (float(datagram.split(b":")[-1].split(b"|")[0]), datagram.split(b";@")[0].split(b"@@")[0])
        for _, datagram in read_capture(path("04-pjsip-contacts")).received()
        if datagram.endswith(b"|ms")
    ]
    for aor in ("alice", "trunk", "+4930123456", "pbx.example.org"):
        times = [ms for ms, name in answers if name == f"PJSIP.contacts.{aor}".encode()]
        key = ("pjsip_rtt", aor)
        assert told.total(key, "unreachable") == times.count(-1)
        assert told.total(key, "count") + told.total(key, "first") == len(times) - times.count(-1)
        assert min(float(f["min"]) for _, f in told.stored[key] if "min" in f) >= 0


def test_round_trips_of_all_contacts_are_those_of_each_together() -> None:
    told = replay("04-pjsip-contacts")
    each = [key for key in told.stored if key[0] == "pjsip_rtt"]
    assert len(each) > 3
    for field in ("count", "sum", "unreachable", "first"):
        together = sum(told.total(key, field) for key in each)
        assert told.total(("pjsip_rtt_all", ""), field) == pytest.approx(together)


def test_first_round_trip_after_a_start_is_left_out() -> None:
    # 1501 ms and 500 ms on loopback.
    told = replay("03-endpoint-stats")
    assert told.total(("pjsip_rtt", "trunk"), "first") == 2
    assert max(float(f["max"]) for _, f in told.stored["pjsip_rtt", "trunk"] if "max" in f) == 0


def test_each_prefix_makes_its_own_names_and_no_call_is_lost() -> None:
    told = replay("06b-prefix")
    calls = [key for key in told.stored if key[1].endswith("calls.in")]
    assert len(calls) == 6
    assert sum(told.total(key) for key in calls) == 13
    # The prefix `pbx one: berlin` has a colon, as the values of sets may have.
    assert ("statsd_set", "pbx one: berlin.callers") in told.stored


def test_meter_support_no_is_recognised_and_asterisks_own_metrics_restored() -> None:
    told = replay("06d-meter-support-no")
    assert told.counts.meter_support > 0
    assert told.counts.restarts == 1
    assert max(f["count"] for _, f in told.stored["channels", ""]) == 2
    assert told.last(("channels", "")) == {"count": 0}
    assert told.total(("statsd_counter", "calls.in_meter")) == 3
    assert told.total(("statsd_counter", "lines.busy_meter")) == 0


def test_call_centre_counts_what_asterisk_counted() -> None:
    told = replay("07-call-centre")
    assert told.total(("statsd_counter", "queue.support.calls")) == 14
    assert told.total(("statsd_counter", "queue.support.answered")) == 8
    assert told.total(("statsd_counter", "queue.support.abandoned")) == 6
    assert told.last(("statsd_gauge", "trunk.in_use")) == {"value": 0}


def test_every_datagram_of_the_dialplan_is_stored_but_the_one_without_a_number() -> None:
    told = replay("06-dialplan-cases")
    assert dict(told.counts.drops) == {Drop.BAD_VALUE: 1}
    sent = {
        name: sum(told.total(key) for key in told.stored if key == ("statsd_counter", name))
        for name in ("calls.in", "calls.mixed", "bytes.kb", "calls.rate05", "calls.zeros")
    }
    assert list(sent.values()) == [1, 10, 1.5, 2, 7]
    assert told.last(("statsd_gauge", "balance.right"))["value"] == -7
    assert told.last(("statsd_gauge", "lines.busy"))["value"] == 44
    for name in ("sip:alice@host:5060", "nl.a nl.b", "nl.c:5 nl.d x", "my metric name", "a,b"):
        assert told.total(("statsd_counter", name)) == 1
    for name in ("callers.uri", "callers.comma", "nl.set", "callers.plus"):
        assert told.total(("statsd_set", name), "count") == 1


@pytest.mark.parametrize("name", ["01d-confbridge-fixed", "02a-calls.statsd", "07-call-centre"])
def test_gauge_that_is_right_after_every_datagram_is_never_marked(name: str) -> None:
    told = replay(name)
    assert not [
        key
        for key, flushes in told.stored.items()
        if key[0] != "statsd_traffic" and any("uncertain" in fields for _, fields in flushes)
    ]


@pytest.mark.no_cover  # the slow repetition of what other tests cover
@pytest.mark.parametrize("speed", [10, 100])
def test_truths_are_stored_or_marked_in_a_replay_that_is_faster_than_life(
    monkeypatch: pytest.MonkeyPatch, speed: int
) -> None:
    # Pauses are compared with one another, not with a clock.
    def faster(seconds: float) -> int:
        return START_NS + round(seconds / speed * 1e6) * 1000

    monkeypatch.setitem(globals(), "at", faster)
    for name in TELLING:
        assert wrong(name, Replay(read_capture(path(name)))) == [], name
