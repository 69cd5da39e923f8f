"""Client of one Asterisk's manager interface: one connection after another, for ever.

After a connection ends or an attempt fails, it connects again after a growing pause with jitter.
Messages are handled as they are read, without a queue: a flood waits in the socket's buffers.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from collector.asterisks import AmiAccount
from collector.backoff import backoff
from collector.intakes.ami.connection import BOOTED, Connection, Times
from collector.intakes.ami.dial import dial
from collector.intakes.ami.ends import End, Lost
from collector.intakes.ami.seen import Seen
from collector.intakes.ami.sink import Sink

log = structlog.get_logger("collector.ami")

_ASK_AGAIN_S: Final = 3600.0
"""Time after which a refused question may be asked again, at the next login."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """Pauses before the next attempt, in s, doubled with each failure in a row.

    They grow from `first` to `most`. A refused login is a security event of the Asterisk and may
    lock this host out, so pauses after it grow from `refused` to `refused_most`. A connection that
    was logged in for `steady` resets the count of failures.
    """

    first: float = 0.5
    most: float = 60.0
    refused: float = 30.0
    refused_most: float = 600.0
    steady: float = 30.0

    def after(self, failures: int, end: End, jitter: float = 1.0) -> float:
        """The pause in s after `failures` (from 1) failures in a row; see `backoff`."""
        first, most = self.first, self.most
        if end is End.LOGIN_REFUSED:
            first, most = self.refused, self.refused_most
        return backoff(failures, first_s=first, most_s=most, jitter=jitter)


class Client:
    """Keeps one Asterisk connected and passes its events and answers to `sink`.

    `wanted` maps the events to read to the headers to read of each. `seen` counts traffic and
    failures; `connected` is whether the client is logged in now.
    """

    def __init__(
        self,
        name: str,
        account: AmiAccount,
        sink: Sink,
        wanted: Mapping[str, frozenset[str]],
        *,
        times: Times | None = None,
        pauses: Pauses | None = None,
    ) -> None:
        self._name, self._account, self._sink = name, account, sink
        self._wanted = {BOOTED: frozenset[str](), **wanted}
        self._times, self._pauses = times or Times(), pauses or Pauses()
        self._unanswerable: set[str] = set()
        self._unanswerable_since = 0.0
        self._logged_in_at = math.inf
        self._told: End | None = None
        self.connected = False
        self.seen = Seen()

    async def run(self) -> None:
        """Connect and follow the Asterisk until cancelled."""
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            self._logged_in_at = math.inf
            end = await self._once()
            steady = loop.time() - self._logged_in_at >= self._pauses.steady
            failures = 1 if steady else failures + 1
            self.seen.ends[end] += 1
            if end is not self._told:
                self._told = end
                log.warning(
                    "no connection to an Asterisk's manager interface; trying again",
                    asterisk=self._name,
                    reason=end.value,
                )
            jitter = random.random()  # noqa: S311 - no secret
            await asyncio.sleep(self._pauses.after(failures, end, jitter))

    async def _once(self) -> End:
        """Make one connection and follow it to its end; return why it ended."""
        try:
            streams, confidential = await dial(self._account, self._times.connect)
        except Lost as lost:
            return lost.end
        connection = Connection(
            streams,
            self._sink,
            self._wanted,
            self.seen,
            unanswerable=self._unanswerable,
            confidential=confidential,
            times=self._times,
        )
        try:
            await connection.during(self._talk(connection))
        except Lost as lost:
            return lost.end
        finally:
            if self.connected:
                self.connected = False
                self._sink.lost()
        return End.CLOSED

    async def _talk(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._unanswerable_since >= _ASK_AGAIN_S:
            self._unanswerable.clear()
            self._unanswerable_since = now
        await connection.login(self._account.user, self._account.secret.get_secret_value())
        self.connected = True
        self._logged_in_at = asyncio.get_running_loop().time()
        self._told = None
        self.seen.logins += 1
        log.info("logged in to an Asterisk's manager interface", asterisk=self._name)
        await connection.booted()
        await connection.follow()
