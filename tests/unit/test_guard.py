"""Who is let in, who makes room for whom, and what each kind of request may hold."""

from __future__ import annotations

import ipaddress
import random
import time
from collections import Counter

import pytest

from collector.guard import Guard, Kind, Limits, Place

PROXY = "10.0.0.1"


class Wire:
    """A connection that remembers whether it was closed for another."""

    def __init__(self) -> None:
        self.cut = False

    def make_room(self) -> None:
        self.cut = True


class Crowd:
    """Connections of a guard, by name; each from an address of its own unless it is told."""

    def __init__(self, connections: int, *, per_address: int = 1000) -> None:
        self.guard = Guard(
            Limits(
                connections=connections,
                per_address=per_address,
                head_bytes=1,
                seconds=1,
                trusted=[ipaddress.ip_network(PROXY)],
            )
        )
        self.wires: dict[str, Wire] = {}
        self.places: dict[str, Place] = {}

    def come(self, name: str, now: float, *, address: str = "") -> bool:
        wire = self.wires[name] = Wire()
        number = len(self.wires)
        place = self.guard.admit(wire, address or f"192.0.{number // 250}.{number % 250}", now)
        if place is not None:
            self.places[name] = place
        return place is not None

    def cut(self) -> set[str]:
        return {name for name, wire in self.wires.items() if wire.cut}


def test_room_is_made_by_who_was_last_heard_longest_ago_and_not_by_the_oldest_connection() -> None:
    crowd = Crowd(3)
    for number, name in enumerate(("oldest", "middle", "newest")):
        crowd.come(name, number)
    crowd.guard.at_work(crowd.places["oldest"])
    crowd.guard.idle(crowd.places["oldest"], 10.9)
    assert crowd.come("more", 11.0)
    assert crowd.cut() == {"middle"}
    assert crowd.come("again", 11.0)
    assert crowd.cut() == {"middle", "newest"}
    # The others have all just spoken.
    assert not crowd.come("third", 11.1)
    assert len(crowd.guard) == 3


def test_keep_alive_connections_of_proxies_are_closed_last() -> None:
    crowd = Crowd(3)
    crowd.come("proxy", 0.0, address=PROXY)
    crowd.come("one", 50.0)
    crowd.come("two", 60.0)
    for name, cut in (("a", "one"), ("b", "two")):
        assert crowd.come(name, 70.0)
        crowd.guard.at_work(crowd.places[name])
        assert cut in crowd.cut()
        assert "proxy" not in crowd.cut()
    assert crowd.come("c", 70.0)
    assert "proxy" in crowd.cut()


def test_request_on_its_way_is_not_closed_and_a_drip_is_no_news() -> None:
    crowd = Crowd(2)
    crowd.come("arriving", 0.0)
    crowd.come("work", 0.0)
    crowd.guard.at_work(crowd.places["work"])
    crowd.guard.arriving(crowd.places["arriving"], 5.0)
    assert not crowd.come("more", 6.9)
    for now in (6.0, 7.0):
        crowd.guard.arriving(crowd.places["arriving"], now)
    assert crowd.come("again", 7.1)
    assert crowd.cut() == {"arriving"}


def test_room_for_an_address_is_made_by_that_address_alone() -> None:
    crowd = Crowd(100, per_address=2)
    crowd.come("other", 0.0, address="192.0.2.99")
    for name in ("one", "two"):
        crowd.come(name, 1.0, address="2001:db8::1")
    assert crowd.come("three", 2.0, address="2001:db8::2")
    assert crowd.cut() == {"one"}
    for name in ("two", "three"):
        crowd.guard.at_work(crowd.places[name])
    assert not crowd.come("four", 9.0, address="2001:db8::3")
    assert crowd.come("proxied", 9.0, address=PROXY)
    assert crowd.come("proxied too", 9.0, address=PROXY)
    assert crowd.come("third proxied", 9.0, address=PROXY)


@pytest.mark.parametrize("kind", Kind)
def test_neither_kind_takes_the_share_of_the_other(kind: Kind) -> None:
    other = Kind.SENDER if kind is Kind.READER else Kind.READER
    crowd = Crowd(10)
    entered = []
    for number in range(10):
        assert crowd.come(str(number), 0.0)
        place = crowd.places[str(number)]
        crowd.guard.at_work(place)
        entered.append(crowd.guard.enter(place, kind, 0.0))
        if not entered[-1]:
            # Told 503, and closed.
            crowd.guard.release(place)
    assert entered == [True] * 5 + [False] * 5
    for number in range(5):
        assert crowd.come(f"other {number}", 0.0)
        place = crowd.places[f"other {number}"]
        crowd.guard.at_work(place)
        assert crowd.guard.enter(place, other, 0.0)
    # An answer gives the place back.
    crowd.guard.idle(crowd.places["0"], 0.0)
    crowd.guard.at_work(crowd.places["0"])
    assert crowd.guard.enter(crowd.places["0"], kind, 0.0)


def test_slow_bodies_that_fill_the_senders_share_make_room_for_another_sender() -> None:
    crowd = Crowd(10)
    for number in range(5):
        crowd.come(str(number), 0.0)
        crowd.guard.arriving(crowd.places[str(number)], 0.0)
        assert crowd.guard.enter(crowd.places[str(number)], Kind.SENDER, number / 10)
    crowd.guard.at_work(crowd.places["0"])
    for now, let_in in ((1.0, False), (2.2, True)):
        crowd.come(f"honest {now}", now)
        assert crowd.guard.enter(crowd.places[f"honest {now}"], Kind.SENDER, now) is let_in
    # The first has come whole by then.
    assert crowd.cut() == {"1"}


def test_readers_of_one_address_leave_half_of_its_connections_to_senders() -> None:
    crowd = Crowd(100, per_address=4)
    entered = []
    for number in range(4):
        crowd.come(str(number), 0.0, address="192.0.2.1")
        crowd.guard.at_work(crowd.places[str(number)])
        kind = Kind.SENDER if number == 3 else Kind.READER
        entered.append(crowd.guard.enter(crowd.places[str(number)], kind, 0.0))
    assert entered == [True, True, False, True]


def in_bounds(crowd: Crowd) -> bool:
    """Whether no bound is passed, by a count of all places."""
    places = list(crowd.places.values())
    of_sites = Counter(place.name for place in places if place.name)
    readers = Counter(place.name for place in places if place.name and place.kind is Kind.READER)
    kinds = Counter(place.kind for place in places)
    return (
        len(crowd.guard) == len(places) <= 40
        and max(kinds[kind] for kind in Kind) <= 20
        and max(of_sites.values(), default=0) <= 8
        and max(readers.values(), default=0) <= 4
    )


def test_bounds_hold_after_any_course_of_events_and_nothing_is_left_behind() -> None:
    chance = random.Random(7)
    crowd = Crowd(40, per_address=8)
    now = 0.0
    for step in range(4000):
        now += chance.random() / 20
        address = PROXY if chance.random() < 0.1 else f"192.0.2.{chance.randrange(20)}"
        crowd.come(str(step), now, address=address)
        for place in chance.sample(list(crowd.places.values()), k=min(3, len(crowd.places))):
            match chance.randrange(4):
                case 0:
                    crowd.guard.arriving(place, now)
                case 1:
                    if chance.random() < 0.5:
                        crowd.guard.at_work(place)
                    crowd.guard.enter(place, chance.choice(list(Kind)), now)
                case 2:
                    crowd.guard.idle(place, now)
                case _:
                    crowd.guard.release(place)
        crowd.places = {name: place for name, place in crowd.places.items() if place.waiting}
        assert in_bounds(crowd)
    for place in crowd.places.values():
        crowd.guard.release(place)
        crowd.guard.release(place)
    assert len(crowd.guard) == 0
    assert crowd.come("anew", now)


def test_a_choice_costs_the_same_among_many_as_among_few() -> None:
    def seconds(open_: int) -> float:
        crowd = Crowd(open_, per_address=open_)
        for number in range(open_):
            crowd.come(str(number), number / open_)
        best = 1.0
        for _ in range(5):
            begun = time.process_time()
            for number in range(200):
                # Each comes in vain: nobody has waited for long enough.
                assert not crowd.come(f"{number} more", 0.2)
            best = min(best, time.process_time() - begun)
        return best

    assert seconds(20_000) < 20 * seconds(200)
