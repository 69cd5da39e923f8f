"""Recorded sessions of AMI, served again to a client of ours: events as recorded, byte for byte.

What the recording client asked is not served: our own questions are answered, with a recorded
answer where one is near in time, else from the state that the events tell (`tools.replay.pbx`).
Time is the recording's: it moves only as the events are sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import SecretStr

from collector.asterisks import AmiAccount, Asterisk
from collector.intakes.ami.client import Pauses
from collector.intakes.ami.connection import Times
from collector.intakes.ami.follower import Follower
from collector.intakes.ami.state import Names, State
from collector.intakes.live import TrueState
from collector.intakes.series import Series
from collector.lines import Point
from tools.replay.ami_script import Step, script
from tools.replay.ami_server import SECRET, USER, AmiServer
from tools.replay.captures import Capture
from tools.replay.pbx import Pbx

BASE_NS = 1_795_000_000 * 10**9
"""The time of a recording's second 0, in ns since 1970: a multiple of every flush interval."""
PATIENT = Times(booted=5.0, quiet=3600.0, answer=60.0, poll=3600.0, look=0.005)
AT_ONCE = Pauses(first=0.001, most=0.002, refused=0.001, refused_most=0.002)


class Replay:
    """A recording served to a follower of ours, which moves on only when asked to.

    `points` are those of all flushes, `truths` what was passed on to StatsD.
    """

    def __init__(
        self, capture: Capture, *, names: Names | None = None, cut: int | None = None
    ) -> None:
        self.capture, self.script = capture, script(capture)
        self.server = AmiServer(Pbx(capture.description))
        self.server.cut = cut
        self.server.recorded = self.script.answer
        self.state = State("pbx", names)
        self.points: list[Point] = []
        self.truths: dict[Series, float] = {}
        self.rounds = 0
        self._names, self._taken = names, 0
        self._next = 0
        self._follower: Follower | None = None

    @property
    def now_ns(self) -> int:
        """The time in ns."""
        return BASE_NS + round(self.server.now * 1e9)

    @property
    def follower(self) -> Follower:
        """The follower, while the replay runs."""
        assert self._follower is not None
        return self._follower

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Replay]:
        """Serve, and follow, until the context ends; the state was asked for at its beginning."""
        self.server.now = self.script.begins
        true_state = TrueState()
        true_state.subscribe(self._true)
        async with self.server.listening() as server:
            account = AmiAccount(
                "127.0.0.1", server.port, USER, SecretStr(SECRET), tls=False, ca_file=""
            )
            self._follower = Follower(
                Asterisk("pbx", ami=account),
                account,
                self.state,
                true_state,
                lambda: self.now_ns,
                times=PATIENT,
                pauses=AT_ONCE,
            )
            task = asyncio.create_task(self._follower.run())
            try:
                await self._asked(0)
                yield self
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _true(self, _asterisk: str, values: object) -> None:
        assert isinstance(values, dict)
        self.truths = values
        self.rounds += 1

    async def advance(self, to: float) -> None:
        """Serve all that came until `to`, in s; the follower has handled it then."""
        steps = self.script.steps
        while self._next < len(steps) and steps[self._next].at <= to:
            step = steps[self._next]
            self._next += 1
            self.server.now = max(self.server.now, step.at)
            if step.message is None:
                await self._end(step)
            else:
                self.server.pbx.take(step.message, step.at)
                await self.server.say(step.message)
                await self._settled()
        self.server.now = max(self.server.now, to)

    async def _end(self, step: Step) -> None:
        if step.restarted:
            self.server.pbx.restarted(step.at)
        self.server.now = max(self.server.now, step.back_at)
        await self.lose()

    async def lose(self) -> None:
        """Break the connection now; the follower comes back and asks for the state."""
        rounds = self.rounds
        self.server.drop()
        await self._asked(rounds)

    def flush(self) -> list[Point]:
        """Flush now; the points are also added to `points`."""
        points, seen = self.follower.flush(self.now_ns)
        self._taken += seen.received
        self.points += points
        return points

    async def _asked(self, rounds: int) -> None:
        async with asyncio.timeout(60):
            while self.rounds <= rounds or not self.follower.connected:  # noqa: ASYNC110 - in steps
                await asyncio.sleep(0.001)
        await self._settled()

    async def _settled(self) -> None:
        """Wait until the follower has handled all that was sent."""
        async with asyncio.timeout(60):
            while self._taken + self.follower.seen.received < self.server.sent:  # noqa: ASYNC110
                await asyncio.sleep(0)
