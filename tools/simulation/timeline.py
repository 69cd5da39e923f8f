"""The timeline of a simulated server: its boots, software, and the times and bodies of reports.

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
"""Length of a year in days."""

# Fractions of restarts: those postponed to the weekend, and those that take days.
_FREE_SATURDAYS = 0.15
_POWER_CUTS = 0.05

T = TypeVar("T")


class _Habit(Enum):
    ALWAYS_ON = auto()
    OFF_AT_NIGHT = auto()
    WEEKENDS = auto()


class Steps(Generic[T]):
    """A step function of time; `first` is its value before the first change."""

    __slots__ = ("times", "values")

    def __init__(self, first: T) -> None:
        self.times = [0]
        self.values = [first]

    def put(self, instant: int, value: T) -> None:
        """Set the value from `instant` until the next change."""
        place = bisect_right(self.times, instant)
        self.times.insert(place, instant)
        self.values.insert(place, value)

    def changes(self) -> Iterator[int]:
        """The instants at which the value changes."""
        for place in range(1, len(self.times)):
            if self.values[place] != self.values[place - 1]:
                yield self.times[place]

    def at(self, instant: int) -> T:
        """The value at an instant."""
        return self.values[bisect_right(self.times, instant) - 1]


@dataclass(slots=True)
class Server:
    """Properties of a server that its timeline is made from: span, peculiarity, software, nodes."""

    rng: Random
    born: int
    ends: int
    odd: Odd | None
    uuid: str
    # Days from a release to this server's upgrade; None if it is never upgraded.
    lag: float | None
    platform: Steps[Platform]
    release: Steps[int]
    nodes: Steps[tuple[Node, ...]]
    extras: frozenset[str]
    rebuilt: bool = False


@dataclass(slots=True)
class Timeline:
    """All reports of a server: `reports` are their instants of arrival, in order."""

    mute: bool
    reports: array[int] = field(default_factory=lambda: array("q"))
    started: list[int] = field(default_factory=list)
    reloaded: list[int] = field(default_factory=list)
    stencils: Steps[Stencil] = field(default_factory=lambda: Steps(Stencil(b"", b"")))

    def body(self, instant: int) -> bytes:
        """The body of the report that arrives at `instant`, one of `reports`."""
        stencil = self.stencils.at(instant)
        # Any Asterisk is sometimes too busy to answer; the last digits of the time serve as a
        # random number without state.
        if self.mute or instant % 311 == 0:
            return stencil.body(None, None)
        started = self.started[bisect_right(self.started, instant) - 1]
        reloaded = self.reloaded[bisect_right(self.reloaded, instant) - 1]
        return stencil.body(
            (instant - started) // SECOND, (instant - max(started, reloaded)) // SECOND
        )


def days_before(instant: int, end: int) -> float:
    """Days from an instant to the end of the fleet: the age that the catalogue uses."""
    return (end - instant) / DAY


def timeline(server: Server, *, first: int, end: int) -> Timeline:
    """Draw a server's timeline between `first` and `end`, the bounds of the fleet."""
    rng = server.rng
    life = Timeline(mute=server.odd is Odd.EMPTY_UPTIME)
    until = min(server.ends, end)
    # Servers older than the first day are at a random point of their cycle then.
    begin = max(server.born, first - int(rng.uniform(1, 60) * DAY))
    kernels = Steps(server.platform.at(begin).kernel(days_before(begin, end) + (server.lag or 0)))
    lost = list(_outages(rng, begin, until))
    for on, off in _uptimes(rng, begin, until):
        life.started.append(on + rng.randrange(6 * SECOND, 14 * SECOND))
        if server.lag is not None:
            kernels.put(on, server.platform.at(on).kernel(days_before(on, end) + server.lag))
        # The client's timer fires 120 s after boot, and then 24 h after the end of each run.
        run = on + 120 * SECOND + int(rng.random() * SECOND)
        while run < min(off, until):
            arrives = run + int((0.05 + rng.random() * 0.4) * SECOND)
            if first <= arrives < end and not any(a <= run < b for a, b in lost):
                life.reports.append(arrives)
            run += DAY + int((0.5 + 2 * rng.random()) * SECOND)
    # A package upgrade restarts Asterisk, but not the client's timer.
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
    """Draw the periods in which a running server has no connection, for hours or days."""
    since = begin
    while (since := since + int(rng.expovariate(1 / YEAR) * DAY)) < end:
        until = since + int(rng.lognormvariate(log(1.5), 0.9) * DAY)
        yield since, until
        since = until


def _uptimes(rng: Random, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Draw the times of boot and shutdown, in order, by the owner's habit."""
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
