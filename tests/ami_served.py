"""Recorded sessions of AMI, served again to a client of ours: events as recorded, byte for byte.

What the recording client asked is not served: our own questions are answered, with a recorded
answer where one is near in time, else from the state that the events tell (`tools.replay.pbx`).
Time is the recording's: it moves only as the events are sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from pydantic import SecretStr

from collector.asterisk_names import Names
from collector.asterisks import AmiAccount, Asterisk
from collector.intakes.ami.actions import STATE
from collector.intakes.ami.client import Pauses
from collector.intakes.ami.connection import Times
from collector.intakes.ami.follower import Follower
from collector.intakes.ami.state.state import State
from collector.intakes.live import TrueState
from collector.intakes.series import Series
from tests.ami_answers import fresh, later
from tests.ami_replay import NS, START_NS, Answer, Replay
from tests.sender import GUARD_S
from tools.replay.ami_script import Step, script
from tools.replay.ami_server import SECRET, USER, AmiServer
from tools.replay.captures import Capture, Remark
from tools.replay.pbx import headers

PATIENT = Times(booted=5.0, quiet=3600.0, answer=60.0, poll=3600.0, look=0.005, look_most=0.005)
AT_ONCE = Pauses(first=0.001, most=0.002, refused=0.001, refused_most=0.002)


class _Follower(Follower):
    """A follower that asks for the state when it is told to."""

    asks = False

    @property
    def stale(self) -> frozenset[str]:
        """All questions, if it is told to ask."""
        return frozenset(STATE) if self.asks else frozenset()


class Served:
    """A recording served to a follower of ours, which moves on only when asked to.

    `stored` keeps what would be stored after each message. The state is asked for again where a
    TRUTH line has the answers (`poll contacts=`), and where it is stale.
    """

    def __init__(
        self, capture: Capture, *, names: Names | None = None, cut: int | None = None
    ) -> None:
        self.capture, self.script = capture, script(capture)
        self.server = AmiServer()
        self.server.cut = cut
        self.server.recorded = self._recorded
        self.stored = Replay(State("pbx", names))
        self.truths: dict[Series, float] = {}
        self.rounds = 0
        self._polled: dict[str, Answer] = {}
        moments: list[Step | Remark] = [*self.script.steps, *capture.remarks]
        self._moments = sorted(
            moments,
            key=lambda one: (one.at, isinstance(one, Step)),
        )
        self._follower: _Follower | None = None
        for answer in fresh(capture):
            self.server.pbx.answered(answer.action, [one.headers for one in answer.items])

    @property
    def follower(self) -> _Follower:
        """The follower, while the replay runs."""
        assert self._follower is not None
        return self._follower

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Served]:
        """Serve, and follow, until the context ends; the state was asked for at its beginning."""
        self.server.now = self.script.begins
        true_state = TrueState()
        true_state.subscribe(self._true)
        async with self.server.listening() as server:
            account = AmiAccount(
                "127.0.0.1", server.port, USER, SecretStr(SECRET), tls=False, ca_file=""
            )
            self._follower = _Follower(
                Asterisk("pbx", ami=account),
                account,
                self.stored.state,
                true_state,
                lambda: START_NS + round(self.server.now * NS),
                times=PATIENT,
                pauses=AT_ONCE,
            )
            task = asyncio.create_task(self._follower.client.run())
            try:
                await self._asked(0)
                yield self
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _true(self, _asterisk: str, values: Mapping[Series, float]) -> None:
        self.truths = dict(values)
        self.rounds += 1

    def _recorded(self, action: str, at: float) -> list[bytes] | None:
        """The answer of a TRUTH line at this moment, or a recorded one that is near."""
        if (answer := self._polled.get(action)) is not None:
            self.server.pbx.answered(action, [one.headers for one in answer.items])
            return None
        if (messages := self.script.answer(action, at)) is not None:
            told = [headers(one) for one in messages[1:-1]]
            self.server.pbx.answered(action, told)
        return messages

    async def advance(self, to: float) -> None:
        """Serve all that came until `to`, in s; the follower has handled and stored it then."""
        while self._moments and self._moments[0].at <= to:
            one = self._moments.pop(0)
            if one.at < self.script.begins:
                continue
            self.server.now = max(self.server.now, one.at)
            if isinstance(one, Remark):
                self.stored.flush(self.server.now)
                await self._look(one)
            elif one.message is None:
                await self._end(one)
            else:
                self.server.pbx.take(one.message, one.at)
                await self.server.say(one.message)
                await self._settled()
            self.stored.flush(self.server.now)
        self.server.now = max(self.server.now, to)

    async def _look(self, remark: Remark) -> None:
        polls = remark.text.startswith("poll contacts=")
        if polls or self.stored.state.stale:
            found = later(self.capture, remark.text) if polls else []
            self._polled = {answer.action: answer for answer in found}
            await self.ask()
            self._polled = {}

    async def _end(self, step: Step) -> None:
        if step.restarted:
            self.server.pbx.restarted(step.at)
        self.server.now = max(self.server.now, step.back_at)
        await self.lose()

    async def ask(self) -> None:
        """Have the state asked for again now."""
        rounds, self.follower.asks = self.rounds, True
        await self._asked(rounds)

    async def lose(self, *, midway: bool = False) -> None:
        """Break the connection now; the follower comes back and asks for the state.

        `midway`: the next message is cut in two, and its second half lost.
        """
        rounds = self.rounds
        following = self._moments[0] if self._moments else None
        if midway and isinstance(following, Step) and following.message is not None:
            del self._moments[0]
            self.server.now = max(self.server.now, following.at)
            await self.server.say(following.message[: len(following.message) // 2])
            await self._settled()
            self.server.pbx.take(following.message, following.at)
        self.server.drop()
        await self._asked(rounds)

    async def _asked(self, rounds: int) -> None:
        async with asyncio.timeout(GUARD_S):
            while self.rounds <= rounds or not self.follower.client.connected:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        self.follower.asks = False
        await self._settled()

    async def _settled(self) -> None:
        """Wait until the follower has handled all that was sent."""
        async with asyncio.timeout(GUARD_S):
            while self.follower.client.seen.received < self.server.sent:  # noqa: ASYNC110
                await asyncio.sleep(0)
