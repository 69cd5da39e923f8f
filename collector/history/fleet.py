"""A simulated fleet of servers: it grows, upgrades, reboots, fails and moves as a real one does.

Pure and seeded: the same arguments give the same bytes. All instants are UTC ns since the epoch.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from enum import Enum, auto
from heapq import heappop, heappush
from math import log
from random import Random
from typing import Generic, TypeVar
from uuid import UUID

from collector.history.bodies import (
    OPTIONAL_PACKAGES,
    RARE_PLATFORMS,
    RELEASES,
    Node,
    Odd,
    Platform,
    Stencil,
    draw_nodes,
    newest_release,
    platforms_at,
    successor,
    telemetry,
)

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
_NEVER = 1 << 62
_YEAR = 365.0

_DEATHS_A_YEAR = 0.12
_REBUILDS_A_YEAR = 0.2
_MOVES_A_YEAR = 0.3
# Shares of restarts: those that wait for the weekend, and those that take days.
_FREE_SATURDAYS = 0.15
_POWER_CUTS = 0.05
_ODD_SHARE = {
    Odd.BARE_WORD: 0.007,
    Odd.EMPTY_UPTIME: 0.002,
    Odd.QUOTED_NUMBERS: 0.002,
    Odd.SAME_NODE_TWICE: 0.002,
    Odd.PRIVATE_ONLY: 0.002,
    Odd.FOREIGN_BUILD: 0.012,
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Submission:
    """One request: when it reaches the server, and its body exactly as the client sends it."""

    received_ns: int
    body: bytes


class _Habit(Enum):
    ALWAYS_ON = auto()
    OFF_AT_NIGHT = auto()
    WEEKENDS = auto()


class _Steps(Generic[T]):
    """A value that changes at instants."""

    __slots__ = ("times", "values")

    def __init__(self, first: T) -> None:
        self.times = [0]
        self.values = [first]

    def put(self, instant: int, value: T) -> None:
        place = bisect_right(self.times, instant)
        self.times.insert(place, instant)
        self.values.insert(place, value)

    def changes(self) -> Iterator[int]:
        for place in range(1, len(self.times)):
            if self.values[place] != self.values[place - 1]:
                yield self.times[place]

    def at(self, instant: int) -> T:
        return self.values[bisect_right(self.times, instant) - 1]


@dataclass(slots=True)
class _Server:
    rng: Random
    born: int
    ends: int
    odd: Odd | None
    uuid: str
    # Days from a release to this server's upgrade; None for one that nobody ever upgrades.
    lag: float | None
    platform: _Steps[Platform]
    release: _Steps[int]
    nodes: _Steps[tuple[Node, ...]]
    extras: frozenset[str]
    rebuilt: bool = False


@dataclass(slots=True)
class _History:
    """Everything that one server ever sends."""

    mute: bool
    reports: array[int] = field(default_factory=lambda: array("q"))
    started: list[int] = field(default_factory=list)
    reloaded: list[int] = field(default_factory=list)
    stencils: _Steps[Stencil] = field(default_factory=lambda: _Steps(Stencil(b"", b"")))

    def body(self, instant: int) -> bytes:
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


class Fleet:
    """The fleet of `days` UTC days from `start` on.

    `servers` is roughly how many live on the last day (a few per cent of them are silent on any
    day), `growth` how much the fleet gains in a year (0.2: a fifth). Releases are dated from the
    last day, so a caller who posts live gives the days up to today and asks for today's. From
    100 servers on there is a client of every `Odd` kind.
    """

    def __init__(
        self, *, seed: int, servers: int, start: date, days: int, growth: float = 0.2
    ) -> None:
        if servers < 1 or days < 1 or growth <= -1:
            raise ValueError("a fleet needs a server, a day and a growth above -1")
        self._seed = seed
        self._first = _midnight(start)
        self._end = self._first + days * DAY
        self._taken: set[int] = set()
        rng = Random(f"{seed}")  # noqa: S311 - a simulation keeps nothing secret
        fleet = self._populate(rng, servers, days, growth)
        self._move_nodes(rng, fleet, round(_MOVES_A_YEAR * servers * days / _YEAR))
        self._histories = [self._history(server) for server in fleet]

    def day(self, day: date) -> list[Submission]:
        """That UTC day's submissions in order of time; ValueError outside the fleet's days."""
        since = _midnight(day)
        if not self._first <= since < self._end:
            raise ValueError(f"{day} is not one of the fleet's days")
        return self.between(since, since + DAY)

    def between(self, since_ns: int, until_ns: int) -> list[Submission]:
        """What arrives from `since_ns` to just before `until_ns`, in order of time."""
        found: list[Submission] = []
        for history in self._histories:
            reports = history.reports
            place = bisect_left(reports, since_ns)
            found += [
                Submission(instant, history.body(instant))
                for instant in reports[place : bisect_left(reports, until_ns, place)]
            ]
        found.sort(key=lambda submission: submission.received_ns)
        return found

    def _age(self, instant: int) -> float:
        return (self._end - instant) / DAY

    def _populate(self, rng: Random, servers: int, days: int, growth: float) -> list[_Server]:
        """All servers that live at some time, each after the one that it replaces."""
        cast: dict[int, Odd | Platform] = {2 + 8 * n: odd for n, odd in enumerate(Odd)}
        rare = [each for each in RARE_PLATFORMS for _ in range(round(each.weight))]
        cast |= {70 + 13 * n: platform for n, platform in enumerate(rare)}
        leaving = _DEATHS_A_YEAR + _REBUILDS_A_YEAR
        fleet: list[_Server] = []
        living: list[tuple[int, int]] = []

        def add(born: int, before: _Server | None = None) -> None:
            number = len(fleet)
            ends = max(born, self._first) + int(rng.expovariate(leaving / _YEAR) * DAY)
            if number in cast:
                ends = _NEVER
            fleet.append(self._server(number, born, ends, cast.get(number), before))
            heappush(living, (ends, number))

        for day in range(days):
            midnight = self._first + day * DAY
            while living and living[0][0] < midnight + DAY:
                ends, number = heappop(living)
                if rng.random() < _REBUILDS_A_YEAR / leaving:
                    fleet[number].rebuilt = True
                    add(ends + rng.randrange(HOUR // 2, 40 * HOUR), fleet[number])
            wanted = round(servers * (1 + growth) ** ((day + 1 - days) / _YEAR))
            for _ in range(wanted - len(living)):
                born = midnight + rng.randrange(DAY)
                if day == 0:
                    # No server is older than the first release; most came lately, as it grew.
                    born = midnight - int(rng.betavariate(1.1, 1.6) * RELEASES[0].age * DAY)
                add(born)
        return fleet

    def _server(
        self, number: int, born: int, ends: int, cast: Odd | Platform | None, before: _Server | None
    ) -> _Server:
        rng = Random(f"{self._seed}/{number}")  # noqa: S311 - as above
        uuid = str(UUID(int=rng.getrandbits(128), version=4))
        age = self._age(born)
        options = platforms_at(age)
        if cast is Odd.ARMV7L:
            options = [platform for platform in options if platform.arch == "armv7l"]
        platform = rng.choices(options, [each.weight for each in options])[0]
        if isinstance(cast, Platform):
            platform = cast
        odd = cast if isinstance(cast, Odd) else None
        if cast is None:
            chances = [*_ODD_SHARE.values(), 1 - sum(_ODD_SHARE.values())]
            odd = rng.choices([*_ODD_SHARE, None], chances)[0]
        if before is None:
            nodes = tuple(draw_nodes(rng, self._taken, odd))
        else:
            # The new installation of an owner's server keeps the numbers and takes a new UUID.
            nodes = before.nodes.values[-1]
            odd = before.odd
        lag = None if rng.random() < 0.1 else rng.lognormvariate(log(18), 0.9)
        server = _Server(
            rng,
            born,
            ends,
            odd,
            uuid,
            lag,
            _Steps(platform),
            _Steps(newest_release(age)),
            _Steps(nodes),
            frozenset(name for name, share in OPTIONAL_PACKAGES.items() if rng.random() < share),
        )
        if lag is not None:
            self._schedule_upgrades(server, lag)
        return server

    def _schedule_upgrades(self, server: _Server, lag: float) -> None:
        rng = server.rng
        for release in RELEASES:
            out = self._end - int(release.age * DAY)
            moment = out + int(lag * rng.uniform(0.6, 1.5) * DAY)
            if moment > server.born:
                # apt brings the newest of that moment, whichever release made the owner upgrade.
                server.release.put(moment, newest_release(self._age(moment)))
        newer = successor(server.platform.at(0))
        if newer is not None and rng.random() < 0.15:
            moment = self._end - int((newer.age - 4 * lag) * DAY)
            if moment > server.born:
                server.platform.put(moment, newer)
                server.release.put(moment, newest_release(self._age(moment)))

    def _move_nodes(self, rng: Random, fleet: list[_Server], moves: int) -> None:
        """Nodes that go to another living server, in a few minutes and for good."""
        # A rebuilt server has already handed on what it held.
        able = [server for server in fleet if not server.rebuilt and server.odd is None]
        if not able:
            return
        for moment in sorted(rng.randrange(self._first, self._end) for _ in range(max(2, moves))):
            # A handful of draws finds a pair in any fleet that has some; a search would be slow.
            drawn = [
                each
                for each in rng.choices(able, k=60)
                if each.born < moment and each.ends > moment + HOUR
            ]
            giver = next((each for each in drawn if len(_public(each.nodes.values[-1])) > 1), None)
            taker = next((each for each in drawn if each is not giver), None)
            if giver is None or taker is None:
                continue
            held, holds = giver.nodes.values[-1], taker.nodes.values[-1]
            # Never before the same server's last change, which may lie minutes ahead.
            giver.nodes.put(max(moment, giver.nodes.times[-1] + 1), held[:-1])
            taker.nodes.put(
                max(moment + rng.randrange(HOUR // 2), taker.nodes.times[-1] + 1),
                (*holds, held[-1]),
            )

    def _history(self, server: _Server) -> _History:
        rng = server.rng
        history = _History(mute=server.odd is Odd.EMPTY_UPTIME)
        end = min(server.ends, self._end)
        # Those who lived before the first day enter it at any point of their cycles.
        begin = max(server.born, self._first - int(rng.uniform(1, 60) * DAY))
        kernels = _Steps(server.platform.at(begin).kernel(self._age(begin) + (server.lag or 0)))
        lost = list(_outages(rng, begin, end))
        for on, off in _uptimes(rng, begin, end):
            history.started.append(on + rng.randrange(6 * SECOND, 14 * SECOND))
            if server.lag is not None:
                kernels.put(on, server.platform.at(on).kernel(self._age(on) + server.lag))
            # The timer: 120 s after boot, then 24 h after the last run, which itself takes time.
            run = on + 120 * SECOND + int(rng.random() * SECOND)
            while run < min(off, end):
                arrives = run + int((0.05 + rng.random() * 0.4) * SECOND)
                if self._first <= arrives < self._end and not any(a <= run < b for a, b in lost):
                    history.reports.append(arrives)
                run += DAY + int((0.5 + 2 * rng.random()) * SECOND)
        # An upgrade of the package restarts Asterisk and leaves the client's timer alone.
        history.started += [at for at in server.release.times + server.platform.times if at > begin]
        history.started.sort()
        history.reloaded = server.nodes.times[:]
        reload = begin
        while (reload := reload + int(rng.expovariate(1 / 20) * DAY)) < end:
            history.reloaded.append(reload)
        history.reloaded.sort()
        self._fill_stencils(history.stencils, server, kernels, begin, end)
        return history

    def _fill_stencils(
        self,
        stencils: _Steps[Stencil],
        server: _Server,
        kernels: _Steps[str],
        begin: int,
        end: int,
    ) -> None:
        changes = {begin}
        for steps in (server.platform, server.release, server.nodes, kernels):
            changes.update(at for at in steps.changes() if begin < at < end)
        for instant in sorted(changes):
            stencils.put(instant, _stencil(server, kernels, instant))


def _stencil(server: _Server, kernels: _Steps[str], instant: int) -> Stencil:
    return telemetry(
        uuid=server.uuid,
        odd=server.odd,
        nodes=server.nodes.at(instant),
        release=RELEASES[server.release.at(instant)],
        platform=server.platform.at(instant),
        kernel=kernels.at(instant),
        extras=server.extras,
    ).stencil()


def _public(nodes: Iterable[Node]) -> list[Node]:
    return [node for node in nodes if node.public]


def _midnight(day: date) -> int:
    return (day - date(1970, 1, 1)).days * DAY


def _outages(rng: Random, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """When a running server cannot reach us, for hours or days."""
    since = begin
    while (since := since + int(rng.expovariate(1 / _YEAR) * DAY)) < end:
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
