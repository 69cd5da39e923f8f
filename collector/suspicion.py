"""What may be an attempt to fool the numbers: counted, never refused. Pure, the day passed in.

Nothing here is proof. An owner who installs anew sends the same nodes under another UUID, and so
claims them a second time; a hundred in an hour are something else.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from itertools import islice
from typing import Final

MOST: Final = 100_000
"""Nodes, servers and bodies of a day that are remembered, each; what comes after is not watched."""
LONGEST_UPTIME_S: Final = 10 * 365 * 86_400
"""No Asterisk runs for longer: none is as old as that without a restart."""


class Kind(StrEnum):
    """What is suspicious; the same word in the metric, on the dashboard and in the runbook."""

    NODE_CLAIMED_TWICE = "node-claimed-twice"
    """A node named by another server than the one that named it first on this UTC day."""
    FIRST_SEEN_SERVER = "first-seen-server"
    """A server not heard of in the days remembered."""
    BODY_REPEATED = "body-repeated"
    """A body that differs from another server's of this day in nothing but the UUID."""
    IMPOSSIBLE_UPTIME = "impossible-uptime"
    """Up for over ten years, or loaded anew longer ago than started."""
    UNWATCHED = "unwatched"
    """A report that there was no room to remember."""


class Suspicions:
    """Remembers a UTC day, in memory only and of bounded size.

    `known`: servers heard of before this process began. Of bodies only a hash of 64 bits is kept,
    keyed with a secret of the process (Python's own).
    """

    def __init__(self, *, known: Iterable[str] = (), most: int = MOST) -> None:
        self._most = most
        self._day = -1
        self._today: set[str] = set()
        self._yesterday: set[str] = set()
        self._before: set[str] = set(islice(known, most))
        self._claims: dict[str, str] = {}
        self._bodies: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._today) + len(self._before) + len(self._claims) + len(self._bodies)

    def of(
        self,
        day: int,
        server: str,
        nodes: Iterable[str],
        body: int,
        uptime: int | None,
        reload_age: int | None,
    ) -> list[Kind]:
        """What is suspicious of a report, a word for each time; `day`: days since 1970, UTC.

        `server` and `nodes` are pseudonyms, `body` a hash of the body without its UUID, the times
        in s.
        """
        if day != self._day:
            self._begin(day)
        found = self._claimed(server, nodes)
        most = self._most
        if server not in self._today:
            if server not in self._before:
                found.append(Kind.FIRST_SEEN_SERVER)
            if len(self._today) < most:
                self._today.add(server)
            else:
                found.append(Kind.UNWATCHED)
        first = self._bodies.get(body)
        if first is None:
            if len(self._bodies) < most:
                self._bodies[body] = server
        elif first != server:
            found.append(Kind.BODY_REPEATED)
        if uptime is not None and (
            uptime > LONGEST_UPTIME_S or (reload_age is not None and reload_age > uptime)
        ):
            found.append(Kind.IMPOSSIBLE_UPTIME)
        return found

    def _claimed(self, server: str, nodes: Iterable[str]) -> list[Kind]:
        found: list[Kind] = []
        claims, most = self._claims, self._most
        for node in nodes:
            first = claims.get(node)
            if first is None:
                if len(claims) < most:
                    claims[node] = server
            elif first != server:
                found.append(Kind.NODE_CLAIMED_TWICE)
        return found

    def _begin(self, day: int) -> None:
        # A node may miss a day, and be heard again on the next.
        keep = self._before if self._day < 0 else self._yesterday | self._today
        self._before, self._yesterday = keep, self._today
        self._day = day
        self._today = set()
        self._claims = {}
        self._bodies = {}
