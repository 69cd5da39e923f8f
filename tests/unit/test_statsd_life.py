"""A made-up Asterisk that lives, crashes and starts: each stored gauge is true, or says uncertain.

The model sends what docs/senders/statsd-wire.md says that Asterisk sends, and knows the truth. The
collector is killed now and then as well. What no datagram tells is left out: an endpoint that a
reload deletes while it adds none.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from collector.intakes.statsd.aggregate import Aggregator
from collector.intakes.statsd.mapping import shipped
from tests.length import repeat, seeds

START_NS = 1_795_622_400 * 10**9
FLUSH = 1.0
CONTACTS = ("Unreachable", "Reachable", "Unknown", "NonQualified", "Removed")
REGISTRATIONS = ("Registered", "Unregistered", "Rejected")

Key = tuple[str, str]


def at(seconds: float) -> int:
    return START_NS + round(seconds * 1e9)


class Life:
    """An Asterisk with its truth, and a collector with its memory."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.truth: dict[Key, float] = {}
        self.settled = False
        """Whether the Asterisk is not in the middle of a start."""
        self.stored: dict[tuple[Key, int], dict[str, float | int | str]] = {}
        self.told: dict[tuple[Key, int], float] = {}
        self.saved: dict[str, str | None] = {}
        self.collector = Aggregator("pbx", shipped())
        self.away_until = -1.0
        self.due = FLUSH
        self.endpoints: list[str] = ["offline"] * self.rng.randint(1, 12)
        self.contacts: list[str] = []
        self.registrations: list[str] = []
        self.conference = 0
        self.channels = 0
        self.pauses = self.rng.choice([0.01, 0.1, 0.5])

    # The clock, and the collector.

    def wait(self, seconds: float) -> None:
        """Let time pass, with the flushes and the memory's writes of that time."""
        end = self.now + seconds
        while self.due <= end:
            self.now = self.due
            self.due += FLUSH
            if self.now >= self.away_until >= 0:
                self.away_until = -1.0
                self.collector = Aggregator("pbx", shipped())
                held = {key: text for key, text in self.saved.items() if text is not None}
                self.collector.restore(held, at(self.now))
            if self.away_until < 0:
                self.flush()
                self.saved |= self.collector.changed()
        self.now = end

    def flush(self) -> None:
        number = round(self.now / FLUSH)
        for point in self.collector.flush(at(self.now)):
            tag = "".join(value for name, value in point.tags.items() if name != "asterisk")
            key = (point.measurement, tag)
            flush = round((point.time - START_NS) / 1e9 / FLUSH)
            self.stored.setdefault((key, flush), {}).update(point.fields)
        if self.settled:
            for key, value in self.truth.items():
                self.told[key, number] = value

    def kill_collector(self) -> None:
        if self.away_until < 0:
            self.away_until = self.now + self.rng.uniform(0.1, 3)

    def send(self, *metrics: str) -> None:
        for metric in metrics:
            if self.away_until < 0:
                self.collector.take(metric.encode(), at(self.now))

    # The Asterisk.

    def know(self) -> None:
        """Write down what is true now."""
        states = Counter(self.contacts)
        self.truth = {
            ("channels", ""): float(self.channels),
            ("statsd_gauge", "conference"): float(self.conference),
            ("endpoints", "all"): float(len(self.endpoints)),
            ("pjsip_registrations", "all"): float(len(self.registrations)),
        }
        for state in ("online", "offline"):
            self.truth["endpoints", state] = float(self.endpoints.count(state))
        for state in CONTACTS[:4]:
            self.truth["pjsip_contacts", state] = float(states[state])
        for state in REGISTRATIONS:
            self.truth["pjsip_registrations", state] = float(self.registrations.count(state))

    def down(self) -> None:
        """Die, with or without a word."""
        if self.rng.random() < 0.3:
            self.send(*["channels.count:-1|g"] * self.channels)
        self.channels = self.conference = 0
        self.contacts, self.registrations = [], []
        self.know()
        self.truth |= dict.fromkeys((key for key in self.truth if key[0] == "endpoints"), 0.0)

    def start(self) -> None:
        """Start, the modules in any order, with pauses shorter than that before the start."""
        self.settled = False
        self.endpoints = ["offline"] * len(self.endpoints)
        contacts, registrations = self.rng.randint(0, 5), self.rng.randint(0, 3)
        modules: list[Callable[[], None]] = [
            lambda: self.load_contacts(contacts),
            lambda: self.load_registrations(registrations),
        ]
        # The module of registrations depends on that of the contacts.
        modules.insert(self.rng.randint(0, 2), self.load_endpoints)
        for module in modules:
            module()
            self.wait(self.rng.uniform(0, self.pauses))
        self.know()
        self.settled = True

    def load_contacts(self, number: int) -> None:
        self.send(*(f"PJSIP.contacts.states.{state}:0|g" for state in CONTACTS))
        self.contacts = ["NonQualified"] * number
        self.send(*["PJSIP.contacts.states.NonQualified:+1|g"] * number)

    def load_registrations(self, number: int) -> None:
        self.send("PJSIP.registrations.count:0|g")
        self.send(*(f"PJSIP.registrations.state.{state}:0|g" for state in REGISTRATIONS))
        self.registrations = ["Unregistered"] * number
        for _ in range(number):
            self.send(
                "PJSIP.registrations.count:+1|g", "PJSIP.registrations.state.Unregistered:+1|g"
            )

    def load_endpoints(self) -> None:
        for state in self.endpoints:
            self.send("endpoints.count:+1|g", f"endpoints.state.{state}:+1|g")

    def reload(self) -> None:
        """A reload adds an endpoint, and may delete another one without a word."""
        self.endpoints.append("offline")
        if len(self.endpoints) > 2 and self.rng.random() < 0.5:
            self.endpoints.pop(0)
        self.send("endpoints.count:+1|g", "endpoints.state.offline:+1|g")

    def load_endpoints_again(self) -> None:
        """The endpoints' module is unloaded, and loaded again."""
        self.settled = False
        for state in self.endpoints:
            self.send("endpoints.count:-1|g", f"endpoints.state.{state}:-1|g")
        self.wait(self.rng.choice([0.2, 3, 10]))
        self.load_endpoints()
        self.settled = True
        self.wait(6)

    def take_endpoint_away(self) -> None:
        """An endpoint goes, and Asterisk says so."""
        state = self.endpoints.pop()
        self.send("endpoints.count:-1|g", f"endpoints.state.{state}:-1|g")
        self.know()
        self.wait(1.5)

    def step(self) -> None:
        """One thing happens."""
        match self.rng.randrange(8):
            case 0 | 1:
                self.channels += 1
                self.send("channels.count:+1|g")
            case 2 if self.channels:
                self.channels -= 1
                self.send("channels.count:-1|g", "channels.calltime:1234|ms")
            case 3:
                self.conference += 1
                self.send("conference:+1|g")
            case 4 if self.conference:
                self.conference -= 1
                self.send("conference:-1|g")
            case 5:
                which = self.rng.randrange(len(self.endpoints))
                old = self.endpoints[which]
                new = self.endpoints[which] = "online" if old == "offline" else "offline"
                self.send(f"endpoints.state.{old}:-1|g", f"endpoints.state.{new}:+1|g")
            case 6 if self.contacts:
                which = self.rng.randrange(len(self.contacts))
                old, new = self.contacts[which], self.rng.choice(CONTACTS[:4])
                self.contacts[which] = new
                if old != new:
                    self.send(f"PJSIP.contacts.states.{old}:-1|g")
                    self.send(f"PJSIP.contacts.states.{new}:+1|g")
            case 7 if self.registrations:
                which = self.rng.randrange(len(self.registrations))
                old, new = self.registrations[which], self.rng.choice(REGISTRATIONS)
                self.registrations[which] = new
                if old != new:
                    self.send(f"PJSIP.registrations.state.{old}:-1|g")
                    self.send(f"PJSIP.registrations.state.{new}:+1|g")
        self.know()

    def change_the_set(self) -> None:
        """Now and then endpoints come, go, or are counted anew."""
        match self.rng.randrange(50):
            case 0:
                self.reload()
                self.know()
                self.wait(6)
            case 1:
                self.load_endpoints_again()
            case 2 if len(self.endpoints) > 2:
                self.take_endpoint_away()

    def live(self, *, kills_collector: bool) -> None:
        """Some lives of the Asterisk, one after the other."""
        for _ in range(self.rng.randint(2, 5)):
            self.start()
            # Endpoints that are added within 5 s of others are of one set.
            self.wait(6)
            for _ in range(self.rng.randint(0, 60)):
                self.step()
                self.wait(self.rng.choice([0.0, 0.01, 0.3, 2.0]))
                self.change_the_set()
                if kills_collector and self.rng.random() < 0.03:
                    self.kill_collector()
            self.down()
            self.wait(self.rng.uniform(4 * self.pauses + 0.4, 20))

    def wrong(self) -> list[str]:
        """What is stored, neither true nor marked."""
        return [
            f"{key} at {flush}: {fields}, true was {self.told[key, flush]}"
            for (key, flush), fields in self.stored.items()
            if (key, flush) in self.told
            and "uncertain" not in fields
            and fields.get("count", fields.get("value")) != self.told[key, flush]
        ]


@pytest.mark.parametrize("seed", seeds(3, 40))
def test_each_gauge_of_a_life_of_crashes_is_true_or_marked(seed: int) -> None:
    for round_ in range(repeat(8, 25)):
        life = Life(seed * 1000 + round_)
        life.live(kills_collector=False)
        # The last death is never followed by a start: nothing tells of it for a while.
        last = max(flush for (_, flush), _ in life.told.items()) if life.told else 0
        assert last > 0
        life.start()
        life.wait(3)
        assert life.wrong() == [], (seed, round_)
        certain = sum("uncertain" not in fields for fields in life.stored.values())
        assert certain > 0.5 * len(life.stored)


@pytest.mark.no_cover  # the slow repetition of what other tests cover
@pytest.mark.parametrize("seed", seeds(3, 40))
def test_each_gauge_is_true_or_marked_though_the_collector_is_killed_too(seed: int) -> None:
    for round_ in range(repeat(8, 25)):
        life = Life(seed * 1000 + 500 + round_)
        if round_ % 2:
            # The collector comes to an Asterisk that is there already.
            life.away_until = life.rng.uniform(1, 40)
        life.live(kills_collector=True)
        life.start()
        life.wait(3)
        assert life.wrong() == [], (seed, round_)


def test_flushes_of_a_life_are_one_second_apart() -> None:
    life = Life(1)
    life.live(kills_collector=False)
    flushes = sorted({flush for _, flush in life.told})
    assert all(b - a >= 1 for a, b in pairwise(flushes))
    assert len(flushes) > 20
