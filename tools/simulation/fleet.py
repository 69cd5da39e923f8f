"""A simulated fleet of servers, which grows, upgrades, reboots, fails and moves like a real one.

Pure and seeded: the same arguments give the same bytes. All instants are UTC ns since the epoch.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from heapq import heappop, heappush
from math import log
from random import Random
from uuid import UUID

from tools.simulation.bodies import Node, Odd, draw_nodes
from tools.simulation.catalogue import (
    OPTIONAL_PACKAGES,
    RARE_PLATFORMS,
    RELEASES,
    Platform,
    newest_release,
    platforms_at,
    successor,
)
from tools.simulation.timeline import DAY, HOUR, YEAR, Server, Steps, days_before, timeline

_NEVER = 1 << 62

_DEATHS_A_YEAR = 0.12
_REBUILDS_A_YEAR = 0.2
_MOVES_A_YEAR = 0.3
_ODD_SHARE = {
    Odd.BARE_WORD: 0.007,
    Odd.EMPTY_UPTIME: 0.002,
    Odd.QUOTED_NUMBERS: 0.002,
    Odd.SAME_NODE_TWICE: 0.002,
    Odd.PRIVATE_ONLY: 0.002,
    Odd.FOREIGN_BUILD: 0.012,
}


@dataclass(frozen=True, slots=True)
class Submission:
    """A request: its time of arrival, and its body byte for byte as the client sends it."""

    received_ns: int
    body: bytes


class Fleet:
    """A fleet over `days` UTC days from `start` on.

    `servers` is the approximate number on the last day, of which a few per cent are silent on any
    day; `growth` is the yearly growth as a fraction (0.2: 20 %). Releases are dated relative to the
    last day, so for live posts the last day must be today. From 100 servers on, every `Odd` kind of
    client is among them.
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
        rng = Random(f"{seed}")  # noqa: S311 - a simulation has no secrets
        fleet = self._populate(rng, servers, days, growth)
        self._move_nodes(rng, fleet, round(_MOVES_A_YEAR * servers * days / YEAR))
        self._timelines = [timeline(server, first=self._first, end=self._end) for server in fleet]

    def day(self, day: date) -> list[Submission]:
        """A UTC day's submissions in order of time. Raises ValueError outside the fleet's days."""
        since = _midnight(day)
        if not self._first <= since < self._end:
            raise ValueError(f"{day} is not one of the fleet's days")
        return self.between(since, since + DAY)

    def between(self, since_ns: int, until_ns: int) -> list[Submission]:
        """The submissions from `since_ns` to just before `until_ns`, in order of time."""
        found: list[Submission] = []
        for life in self._timelines:
            reports = life.reports
            place = bisect_left(reports, since_ns)
            found += [
                Submission(instant, life.body(instant))
                for instant in reports[place : bisect_left(reports, until_ns, place)]
            ]
        found.sort(key=lambda submission: submission.received_ns)
        return found

    def _populate(self, rng: Random, servers: int, days: int, growth: float) -> list[Server]:
        """Draw all servers of the period; a replacement follows the server that it replaces."""
        cast: dict[int, Odd | Platform] = {2 + 8 * n: odd for n, odd in enumerate(Odd)}
        rare = [each for each in RARE_PLATFORMS for _ in range(round(each.weight))]
        cast |= {70 + 13 * n: platform for n, platform in enumerate(rare)}
        leaving = _DEATHS_A_YEAR + _REBUILDS_A_YEAR
        fleet: list[Server] = []
        living: list[tuple[int, int]] = []

        def add(born: int, before: Server | None = None) -> None:
            number = len(fleet)
            ends = max(born, self._first) + int(rng.expovariate(leaving / YEAR) * DAY)
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
            wanted = round(servers * (1 + growth) ** ((day + 1 - days) / YEAR))
            for _ in range(wanted - len(living)):
                born = midnight + rng.randrange(DAY)
                if day == 0:
                    # No server is older than the first release; due to growth most are recent.
                    born = midnight - int(rng.betavariate(1.1, 1.6) * RELEASES[0].age * DAY)
                add(born)
        return fleet

    def _server(
        self, number: int, born: int, ends: int, cast: Odd | Platform | None, before: Server | None
    ) -> Server:
        rng = Random(f"{self._seed}/{number}")  # noqa: S311 - as above
        uuid = str(UUID(int=rng.getrandbits(128), version=4))
        age = days_before(born, self._end)
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
            # A reinstalled server has the same node numbers and a new UUID.
            nodes = before.nodes.values[-1]
            odd = before.odd
        lag = None if rng.random() < 0.1 else rng.lognormvariate(log(18), 0.9)
        server = Server(
            rng,
            born,
            ends,
            odd,
            uuid,
            lag,
            Steps(platform),
            Steps(newest_release(age)),
            Steps(nodes),
            frozenset(name for name, share in OPTIONAL_PACKAGES.items() if rng.random() < share),
        )
        if lag is not None:
            self._schedule_upgrades(server, lag)
        return server

    def _schedule_upgrades(self, server: Server, lag: float) -> None:
        rng = server.rng
        for release in RELEASES:
            out = self._end - int(release.age * DAY)
            moment = out + int(lag * rng.uniform(0.6, 1.5) * DAY)
            if moment > server.born:
                # apt installs the newest release, not the one that prompted the upgrade.
                server.release.put(moment, newest_release(days_before(moment, self._end)))
        newer = successor(server.platform.at(0))
        if newer is not None and rng.random() < 0.15:
            moment = self._end - int((newer.age - 4 * lag) * DAY)
            if moment > server.born:
                server.platform.put(moment, newer)
                server.release.put(moment, newest_release(days_before(moment, self._end)))

    def _move_nodes(self, rng: Random, fleet: list[Server], moves: int) -> None:
        """Move nodes to other active servers for good; each move takes a few minutes."""
        # The nodes of a rebuilt server have already moved.
        able = [server for server in fleet if not server.rebuilt and server.odd is None]
        if not able:
            return
        for moment in sorted(rng.randrange(self._first, self._end) for _ in range(max(2, moves))):
            # A few random draws suffice to find a pair; a full search would be slow.
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
            # Never before the server's last change, which may be some minutes later.
            giver.nodes.put(max(moment, giver.nodes.times[-1] + 1), held[:-1])
            taker.nodes.put(
                max(moment + rng.randrange(HOUR // 2), taker.nodes.times[-1] + 1),
                (*holds, held[-1]),
            )


def _public(nodes: Iterable[Node]) -> list[Node]:
    return [node for node in nodes if node.public]


def _midnight(day: date) -> int:
    return (day - date(1970, 1, 1)).days * DAY
