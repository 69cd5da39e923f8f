"""Recorded sessions of AMI, served again to a client of ours: events as recorded, byte for byte.

What the recording client asked is not served: our own questions are answered, with a recorded
answer where one is near in time, else from the state that the events tell (`tests.ami_pbx`). Time
is the recording's: it moves only as the events are sent.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pydantic import SecretStr

from collector.asterisks import AmiAccount, Asterisk
from collector.intakes.ami.client import Pauses
from collector.intakes.ami.connection import Times
from collector.intakes.ami.follower import Follower
from collector.intakes.ami.state import Names, State
from collector.intakes.live import TrueState
from collector.intakes.series import Series
from collector.lines import Point
from tests.ami_pbx import Pbx, headers
from tests.ami_server import SECRET, USER, AmiServer
from tests.captures import Capture, Way

BASE_NS = 1_795_000_000 * 10**9
"""The time of a recording's second 0, in ns since 1970: a multiple of every flush interval."""
PATIENT = Times(booted=5.0, quiet=3600.0, answer=60.0, poll=3600.0, look=0.005)
AT_ONCE = Pauses(first=0.001, most=0.002, refused=0.001, refused_most=0.002)
_NEAR_S = 3.0
_BANNER = re.compile(rb"Asterisk Call Manager/[^\r]*\r\n")
_ACTION_ID = re.compile(rb"(?<=\r\nActionID: )(c\d+)(?=\r\n)")


@dataclass(frozen=True, slots=True)
class Step:
    """What came at a time in s: a message, or (None) the end of the connection.

    After an end, `back_at` is when the recording client was logged in again, and `restarted` says
    that Asterisk began anew.
    """

    at: float
    message: bytes | None
    back_at: float = 0.0
    restarted: bool = False


@dataclass
class Script:
    """The events of a recording, in order, and its recorded answers by action, each with a time."""

    begins: float = 0.0
    steps: list[Step] = field(default_factory=list)
    answers: dict[str, list[tuple[float, list[bytes]]]] = field(default_factory=dict)

    def answer(self, action: str, at: float) -> list[bytes] | None:
        """The recorded answer to an action that is nearest to a time, if it is near."""
        found = min(self.answers.get(action, ()), key=lambda one: abs(one[0] - at), default=None)
        return found[1] if found is not None and abs(found[0] - at) <= _NEAR_S else None


def script(capture: Capture) -> Script:
    """The script of a recording: the connections of it that were logged in, one after another."""
    made, pending = _Making(), b""
    for one in capture.traffic:
        if one.way is Way.OUT:
            told = headers(one.data)
            made.asked[told.get("ActionID", "").encode()] = told.get("Action", "")
        elif one.way is Way.IN:
            pending = _BANNER.sub(b"", pending + one.data, count=1)
            *whole, pending = pending.split(b"\r\n\r\n")
            for raw in whole:
                made.take(one.at, raw + b"\r\n\r\n")
        elif one.data.startswith((b"eof", b"close", b"reset")):
            pending = b""
            made.end(one.at)
    _tell_restarts(made.script)
    return made.script


class _Making:
    """A script in the making; `asked` has the recording client's actions by ActionID."""

    def __init__(self) -> None:
        self.script = Script()
        self.asked: dict[bytes, str] = {}
        self._logged_in = False

    def take(self, at: float, message: bytes) -> None:
        """Take a message that came."""
        mark = _ACTION_ID.search(message)
        if b"\r\nPrivilege: " in message or mark is None or mark[1] not in self.asked:
            if self._logged_in and not message.startswith(b"Response:"):
                self.script.steps.append(Step(at, message))
        elif self.asked[mark[1]] != "Login":
            _add_answer(self.script, self.asked[mark[1]], at, mark[1], message)
        elif b"Response: Success" in message:
            self._log_in(at)

    def _log_in(self, at: float) -> None:
        self._logged_in = True
        if not self.script.begins:
            self.script.begins = at
        elif self.script.steps and self.script.steps[-1].message is None:
            self.script.steps[-1] = Step(self.script.steps[-1].at, None, back_at=at)

    def end(self, at: float) -> None:
        """Take the end of the connection."""
        if self._logged_in:
            self.script.steps.append(Step(at, None))
        self._logged_in = False


def _add_answer(made: Script, action: str, at: float, mark: bytes, message: bytes) -> None:
    answers = made.answers.setdefault(action, [])
    filled = message.replace(b"ActionID: " + mark + b"\r\n", b"ActionID: %ID%\r\n", 1)
    if message.startswith(b"Response:"):
        answers.append((at, [filled]))
    elif answers:
        answers[-1][1].append(filled)


def _tell_restarts(made: Script) -> None:
    """Mark the ends after which FullyBooted tells a start, and leave out each that greets."""
    steps: list[Step] = []
    for step in made.steps:
        last = next((one for one in reversed(steps) if one.message is None), None)
        since = made.begins if last is None else last.back_at
        if step.message is not None and step.message.startswith(b"Event: FullyBooted"):
            uptime = float(headers(step.message)["Uptime"])
            if last is not None and uptime < step.at - last.at:
                steps[steps.index(last)] = Step(last.at, None, last.back_at, restarted=True)
            if step.at - since < 1.0:
                continue
        steps.append(step)
    # The end of the recording is no loss: the server just stays silent.
    while steps and steps[-1].message is None and not steps[-1].back_at:
        steps.pop()
    made.steps = steps


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
