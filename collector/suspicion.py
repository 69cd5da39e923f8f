"""Detection of reports that may be made up to falsify the numbers. Pure.

Suspicious reports are counted, never refused, since a single one proves nothing: an owner who
reinstalls a server sends the same nodes under a new UUID.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from itertools import islice
from typing import Final

MOST: Final = 100_000
"""Limits of the nodes, of the servers and of the bodies remembered for a day."""
LONGEST_UPTIME_S: Final = 10 * 365 * 86_400
"""Longest plausible uptime of an Asterisk, in seconds."""


class Kind(StrEnum):
    """Kind of suspicion; the same word is used in the metric, the dashboard and the runbook."""

    NODE_CLAIMED_TWICE = "node-claimed-twice"
    """A node that another server has reported before on this UTC day."""
    FIRST_SEEN_SERVER = "first-seen-server"
    """A server without a report in the days remembered."""
    BODY_REPEATED = "body-repeated"
    """A body that equals that of another server on this day, except for the UUID."""
    IMPOSSIBLE_UPTIME = "impossible-uptime"
    """An uptime of over ten years, or shorter than the time since the last reload."""
    UNWATCHED = "unwatched"
    """A report that was not checked in full, since the limit of what is remembered was reached."""


class Suspicions:
    """Compares each report with the others of its UTC day, in memory of bounded size.

    `known` are servers that have reported before this process started. Bodies are remembered as
    64-bit hashes, keyed with a secret of the process (Python's own hash).
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
        """The suspicions about a report, one kind for each occurrence.

        `day` is in days since 1970, UTC; `server` and `nodes` are pseudonyms, `body` is a hash of
        the body without its UUID, `uptime` and `reload_age` are in seconds.
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
        # A server may miss a day and report again on the next.
        keep = self._before if self._day < 0 else self._yesterday | self._today
        self._before, self._yesterday = keep, self._today
        self._day = day
        self._today = set()
        self._claims = {}
        self._bodies = {}
