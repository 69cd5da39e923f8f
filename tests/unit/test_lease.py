"""A lease under a simulated store, network and clocks: never two holders, and soon one."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import pytest

from collector.lease import Entry, Lease, Put, Read, Rest, Terms
from tests.length import seeds

T = TypeVar("T")
TTL = 20.0
TERMS = Terms(TTL, 1.0)


@dataclass
class Store:
    """A store with compare-and-set."""

    entry: Entry | None = None
    revision: int = 0

    def put(self, last: int, holder: str) -> int | None:
        if last != (self.entry.revision if self.entry is not None else 0):
            return None
        self.revision += 1
        self.entry = Entry(self.revision, holder)
        return self.revision


@dataclass
class Process:
    """A process with a clock of its own, which may be stopped and continued."""

    name: str
    ahead: float
    stopped_until: float = 0.0
    lease: Lease = field(init=False)
    held: float = 0.0

    def __post_init__(self) -> None:
        self.lease = Lease(self.name, TERMS)


class World:
    """Several processes, one store, and a network that delays and loses. Times are in s."""

    def __init__(self, seed: int, *, loss: float, stops: float, count: int = 3) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.stops = stops
        self.store = Store()
        self.now = 0.0
        self.holders: list[tuple[float, str]] = []
        self.processes = [Process(f"p{n}", self.random.uniform(-1e6, 1e6)) for n in range(count)]
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        for process in self.processes:
            self.at(self.random.uniform(0, 2), partial(self.act, process))

    def at(self, time: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), event))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()
            self.look()
        self.now = until

    def look(self) -> None:
        """Check that at most one process may work, those that are stopped included."""
        holders = [each.name for each in self.processes if self.holds(each)]
        assert len(holders) <= 1, (self.now, holders)
        if holders and (not self.holders or self.holders[-1][1] != holders[0]):
            self.holders.append((self.now, holders[0]))

    def holds(self, process: Process) -> bool:
        return process.lease.holds(self.now + process.ahead)

    def act(self, process: Process) -> None:
        """Do one step of a process, once it is not stopped."""
        if self.now < process.stopped_until:
            self.at(process.stopped_until, lambda: self.act(process))
            return
        if self.random.random() < self.stops:
            process.stopped_until = self.now + self.random.expovariate(1 / TTL)
        clock = self.now + process.ahead
        match process.lease.step(clock):
            case Rest(until):
                self.at(self.now + max(0.01, until - clock), lambda: self.act(process))
            case Read():
                self.request(process, lambda: self.store.entry, self.found)
            case Put(last):
                self.request(
                    process,
                    lambda: self.store.put(last, process.name),
                    lambda process, revision: self.put_done(process, revision, clock),
                )

    def request(
        self, process: Process, do: Callable[[], T], done: Callable[[Process, T], None]
    ) -> None:
        """Send a request: it and its answer take time, and each may be lost."""
        arrives = self.now + self.random.expovariate(10)
        replies = arrives + self.random.expovariate(10)
        patience = self.now + TERMS.margin_s
        lost, silent = (self.random.random() < self.loss for _ in range(2))
        if lost or silent or replies > patience:
            if not lost:
                # It is done all the same, perhaps long after the process has given it up.
                self.at(arrives + self.random.choice([0, TTL / 2, 2 * TTL]), lambda: void(do()))
            self.at(patience, lambda: self.then(process, lambda: self.failed(process)))
            return
        result: list[T] = []
        self.at(arrives, lambda: result.append(do()))
        self.at(replies, lambda: self.then(process, lambda: done(process, result[0])))

    def then(self, process: Process, event: Callable[[], None]) -> None:
        """Let a process notice something, which is later if it is stopped."""
        if self.now < process.stopped_until:
            self.at(process.stopped_until, lambda: self.then(process, event))
            return
        event()
        self.act(process)

    def found(self, process: Process, entry: Entry | None) -> None:
        process.lease.found(entry, self.now + process.ahead)

    def put_done(self, process: Process, revision: int | None, sent: float) -> None:
        if revision is None:
            process.lease.refused()
        else:
            process.lease.stored(revision, sent)

    def failed(self, process: Process) -> None:
        process.lease.failed(self.now + process.ahead)


def void(_result: object) -> None:
    """Drop a result that nobody receives."""


@pytest.mark.no_cover  # the slow repetition of what other tests cover
@pytest.mark.parametrize(("loss", "stops"), [(0.0, 0.0), (0.2, 0.05), (0.35, 0.02)])
def test_never_two_holders_however_the_lease_flaps(loss: float, stops: float) -> None:
    changes = 0
    for seed in seeds(40, 2000):
        world = World(seed, loss=loss, stops=stops)
        world.run(1000.0)
        changes += max(0, len(world.holders) - 1)
    # With faults it does change hands; without, the first holder stays.
    assert (changes > 0) is (loss > 0)


def test_another_takes_over_within_a_minute_of_the_holder_s_end() -> None:
    for seed in seeds(40, 2000):
        world = World(seed, loss=0.0, stops=0.0)
        world.run(200.0)
        ((_, first),) = world.holders
        next(each for each in world.processes if each.name == first).stopped_until = 1e9
        world.run(200.0 + TTL + 5)
        (_, (at, second)) = world.holders
        assert second != first
        assert at > 200.0 + TTL * 3 / 4 - TERMS.renew_s - 1


def test_a_store_that_comes_back_with_old_values_makes_no_second_holder() -> None:
    for seed in seeds(40, 2000):
        world = World(seed, loss=0.0, stops=0.0)
        world.run(50.0)
        for lost in (None, world.store.entry):
            world.run(world.now + 30.0)
            # All servers end at once; what they had not synced yet is gone.
            world.loss = 1.0
            world.run(world.now + TERMS.look_s + TERMS.margin_s + 5)
            world.store.entry = lost
            world.loss = 0.0
            world.run(world.now + 100.0)
            assert any(map(world.holds, world.processes))


def test_released_lease_is_taken_at_once_and_its_process_stops_before() -> None:
    ours, theirs = Lease("ours", TERMS), Lease("theirs", TERMS)
    store = Store()
    ours.found(store.entry, 0.0)
    assert ours.step(1.0) == Read()
    assert ours.step(TTL) == Put(0)
    revision = store.put(0, "ours")
    assert revision is not None
    ours.stored(revision, TTL)
    assert ours.holds(TTL + 1)
    assert ours.step(TTL + 1) == Rest(TTL + TERMS.renew_s)
    theirs.found(store.entry, 21.0)
    assert theirs.holder == "ours"
    assert ours.give_up() == revision
    assert not ours.holds(TTL + 1)
    assert ours.give_up() is None
    assert store.put(revision, "") == 2
    theirs.found(store.entry, 22.0)
    assert theirs.step(22.0) == Put(2)
    theirs.refused()
    assert theirs.step(22.0) == Read()


def test_what_was_seen_before_a_failure_does_not_count() -> None:
    lease = Lease("ours", TERMS)
    lease.found(Entry(1, "theirs"), 0.0)
    lease.failed(TTL - 1)
    assert lease.step(TTL - 1) == Rest(TTL - 1 + TERMS.look_s)
    assert lease.step(TTL) == Read()
    lease.found(Entry(1, "theirs"), TTL)
    assert lease.step(TTL) == Rest(TTL + TERMS.look_s)
    assert lease.step(2 * TTL) == Put(1)
