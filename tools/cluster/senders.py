"""Simulated senders of the cluster, and what they were answered."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from dataclasses import dataclass, field
from random import Random
from typing import Final

import aiohttp

from collector.privacy import Pseudonymiser
from tools.simulation.bodies import Telemetry
from tools.simulation.catalogue import PLATFORMS, RELEASES

_FIRST_NODE: Final = 100_000
_ANSWER_S: Final = 60.0
_PAUSE_S: Final = 0.2
"""Pause of a sender whose connection was refused."""
_HEADERS: Final = {"Content-Type": "application/json"}


@dataclass
class Senders:
    """Senders with one node each, which send one report and never again, as real clients do.

    Each report has a node of its own, so the nodes in InfluxDB say which reports are stored. Nodes
    are named by their pseudonyms.
    """

    url: str
    pseudonyms: Pseudonymiser
    rate: float
    """Reports a second."""
    acknowledged: dict[str, float] = field(default_factory=dict)
    """Nodes whose report was answered 200, with the time at which it was sent, in s since 1970."""
    refused: set[str] = field(default_factory=set)
    """Answered with an error by the receiver or the balancer."""
    unanswered: set[str] = field(default_factory=set)
    """The connection broke before an answer came: the report may be stored."""
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(_FIRST_NODE))
    _random: Random = field(default_factory=lambda: Random(1))  # noqa: S311 - a simulation
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def sent(self) -> int:
        """Reports that reached the balancer."""
        return len(self.acknowledged) + len(self.refused) + len(self.unanswered)

    def stop(self) -> None:
        """Let `run` end, once the reports under way are answered."""
        self._stopped.set()

    async def run(self) -> None:
        """Send reports until `stop`."""
        loop = asyncio.get_running_loop()
        async with (
            aiohttp.ClientSession(
                # One connection a report, like so many senders.
                connector=aiohttp.TCPConnector(force_close=True, limit=0),
                timeout=aiohttp.ClientTimeout(total=_ANSWER_S),
                cookie_jar=aiohttp.DummyCookieJar(),
            ) as session,
            asyncio.TaskGroup() as under_way,
        ):
            begun = loop.time()
            for number in itertools.count(1):
                under_way.create_task(self._send(session))
                pause = begun + number / self.rate - loop.time()
                if pause < -1:
                    # The machine stood still: no burst makes up for it.
                    begun -= pause
                try:
                    await asyncio.wait_for(self._stopped.wait(), max(0.0, pause))
                except TimeoutError:
                    continue
                return

    async def _send(self, session: aiohttp.ClientSession) -> None:
        number = next(self._numbers)
        body, node, at = self._report(number), self.pseudonyms.node(number), time.time()
        while True:
            try:
                async with session.post(self.url, data=body, headers=_HEADERS) as answer:
                    if answer.status == 200:
                        self.acknowledged[node] = at
                    else:
                        self.refused.add(node)
                    return
            except aiohttp.ClientConnectorError:
                # Nothing listens, so nothing was sent: this sender has not begun yet.
                if self._stopped.is_set():
                    return
                await asyncio.sleep(_PAUSE_S)
            except (aiohttp.ClientError, TimeoutError):
                self.unanswered.add(node)
                return

    def _report(self, number: int) -> bytes:
        platform = self._random.choice(PLATFORMS)
        release = self._random.choice(RELEASES)
        uptime = self._random.randrange(100, 9_000_000)
        return (
            Telemetry(
                uuid=str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
                asterisk=f"Asterisk {release.version(platform.suffix)}",
                nodes=[number],
                registered_http=[number],
                registered_iax=[],
                channels={str(number): "SimpleUSB"},
                distro=platform.distro,
                release=platform.release,
                kernel=platform.kernel(0),
                arch=platform.arch,
                packages=release.packages(platform.suffix, frozenset()),
            )
            .stencil()
            .body(uptime, uptime)
        )
