"""One simulated server's life: when it boots, what it runs, when it reports, and what it says.

Pure: no I/O, no clock, no globals that change. All instants are UTC ns since the epoch.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from math import log
from random import Random
from typing import Generic, TypeVar

from tools.simulation.bodies import Node, Odd, Stencil, telemetry
from tools.simulation.catalogue import RELEASES, Platform

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
YEAR = 365.0
"""In days."""

# Shares of restarts: those that wait for the weekend, and those that take days.
_FREE_SATURDAYS = 0.15
_POWER_CUTS = 0.05

T = TypeVar("T")


class _Habit(Enum):
    ALWAYS_ON = auto()
    OFF_AT_NIGHT = auto()
    WEEKENDS = auto()


class Steps(Generic[T]):
    """A value that changes at instants; `first` is the value before them all."""

    __slots__ = ("times", "values")

    def __init__(self, first: T) -> None:
        self.times = [0]
        self.values = [first]

    def put(self, instant: int, value: T) -> None:
        """Let the value be this one from the instant to the next change."""
        place = bisect_right(self.times, instant)
        self.times.insert(place, instant)
        self.values.insert(place, value)

    def changes(self) -> Iterator[int]:
        """The instants at which the value becomes another."""
        for place in range(1, len(self.times)):
            if self.values[place] != self.values[place - 1]:
                yield self.times[place]

    def at(self, instant: int) -> T:
        """The value at an instant."""
        return self.values[bisect_right(self.times, instant) - 1]


@dataclass(slots=True)
class Server:
    """What is settled about a server before it lives: its span, oddity, software and nodes."""

    rng: Random
    born: int
    ends: int
    odd: Odd | None
    uuid: str
    # Days from a release to this server's upgrade; None for one that nobody ever upgrades.
    lag: float | None
    platform: Steps[Platform]
    release: Steps[int]
    nodes: Steps[tuple[Node, ...]]
    extras: frozenset[str]
    rebuilt: bool = False


@dataclass(slots=True)
class Timeline:
    """Everything that one server ever sends: `reports` are the instants of arrival, in order."""

    mute: bool
    reports: array[int] = field(default_factory=lambda: array("q"))
    started: list[int] = field(default_factory=list)
    reloaded: list[int] = field(default_factory=list)
    stencils: Steps[Stencil] = field(default_factory=lambda: Steps(Stencil(b"", b"")))

    def body(self, instant: int) -> bytes:
        """The body that arrives at one of the instants of `reports`."""
        stencil = self.stencils.at(instant)
        # Any server's Asterisk may be too busy to answer; the clock's last digits are as good
        # as dice, and need no state.
        if self.mute or instant % 311 == 0:
            return stencil.body(None, None)
        started = self.started[bisect_right(self.started, instant) - 1]
        reloaded = self.reloaded[bisect_right(self.reloaded, instant) - 1]
        return stencil.body(
            (instant - started) // SECOND, (instant - max(started, reloaded)) // SECOND
        )


def days_before(instant: int, end: int) -> float:
    """Days from an instant to the end of the fleet, by which the catalogue is dated."""
    return (end - instant) / DAY


def timeline(server: Server, *, first: int, end: int) -> Timeline:
    """The life of a server as far as it falls between `first` and `end`, the fleet's bounds."""
    rng = server.rng
    life = Timeline(mute=server.odd is Odd.EMPTY_UPTIME)
    until = min(server.ends, end)
    # Those who lived before the first day enter it at any point of their cycles.
    begin = max(server.born, first - int(rng.uniform(1, 60) * DAY))
    kernels = Steps(server.platform.at(begin).kernel(days_before(begin, end) + (server.lag or 0)))
    lost = list(_outages(rng, begin, until))
    for on, off in _uptimes(rng, begin, until):
        life.started.append(on + rng.randrange(6 * SECOND, 14 * SECOND))
        if server.lag is not None:
            kernels.put(on, server.platform.at(on).kernel(days_before(on, end) + server.lag))
        # The timer: 120 s after boot, then 24 h after the last run, which itself takes time.
        run = on + 120 * SECOND + int(rng.random() * SECOND)
        while run < min(off, until):
            arrives = run + int((0.05 + rng.random() * 0.4) * SECOND)
            if first <= arrives < end and not any(a <= run < b for a, b in lost):
                life.reports.append(arrives)
            run += DAY + int((0.5 + 2 * rng.random()) * SECOND)
    # An upgrade of the package restarts Asterisk and leaves the client's timer alone.
    life.started += [at for at in server.release.times + server.platform.times if at > begin]
    life.started.sort()
    life.reloaded = server.nodes.times[:]
    reload = begin
    while (reload := reload + int(rng.expovariate(1 / 20) * DAY)) < until:
        life.reloaded.append(reload)
    life.reloaded.sort()
    changes = {begin}
    for steps in (server.platform, server.release, server.nodes, kernels):
        changes.update(at for at in steps.changes() if begin < at < until)
    for instant in sorted(changes):
        life.stencils.put(instant, _stencil(server, kernels, instant))
    return life


def _stencil(server: Server, kernels: Steps[str], instant: int) -> Stencil:
    return telemetry(
        uuid=server.uuid,
        odd=server.odd,
        nodes=server.nodes.at(instant),
        release=RELEASES[server.release.at(instant)],
        platform=server.platform.at(instant),
        kernel=kernels.at(instant),
        extras=server.extras,
    ).stencil()


def _outages(rng: Random, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """When a running server cannot reach us, for hours or days."""
    since = begin
    while (since := since + int(rng.expovariate(1 / YEAR) * DAY)) < end:
        until = since + int(rng.lognormvariate(log(1.5), 0.9) * DAY)
        yield since, until
        since = until


def _uptimes(rng: Random, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """When the machine boots and when it next stops, by its owner's habit, in order."""
    habit = rng.choices(list(_Habit), (94, 4.5, 1.5))[0]
    # Owners are mostly American: their waking day starts at about 13:00 UTC.
    morning = rng.gauss(13, 2) * HOUR
    if habit is _Habit.ALWAYS_ON:
        pace = rng.lognormvariate(log(25), 0.9)
        on = begin
        while on < end:
            off = on + int((0.05 + rng.expovariate(1 / pace)) * DAY)
            weekday = _weekday(off)
            if weekday < 5 and rng.random() < _FREE_SATURDAYS:
                off += (5 - weekday) * DAY
            yield on, off
            on = off + rng.randrange(30 * SECOND, 600 * SECOND)
            if rng.random() < _POWER_CUTS:
                on += int(rng.lognormvariate(log(2.5), 0.9) * DAY)
        return
    for midnight in range(begin - begin % DAY, end, DAY):
        on = midnight + int(morning + rng.gauss(0, 0.6) * HOUR)
        hours = rng.uniform(9, 15)
        if habit is _Habit.WEEKENDS:
            if _weekday(midnight) != 4:
                continue
            hours += 40
        if on >= begin and rng.random() < 0.85:
            yield on, on + int(hours * HOUR)


def _weekday(instant: int) -> int:
    # 1970-01-01 was a Thursday; Monday is 0.
    return (instant // DAY + 3) % 7
