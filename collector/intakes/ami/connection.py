"""One connection to an Asterisk's manager interface: login, questions, events, Ping."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, ParamSpec, TypeVar

import structlog

from collector.intakes.ami.actions import (
    POLLED,
    STATE,
    WITH_SECRETS,
    Refusal,
    action_bytes,
    login_key,
)
from collector.intakes.ami.ends import End, Lost
from collector.intakes.ami.message import Message
from collector.intakes.ami.protocol import (
    Answer,
    Drop,
    Item,
    NotAmi,
    Reader,
    Splitter,
    actions_listed,
)
from collector.intakes.ami.seen import Seen
from collector.intakes.ami.sink import Sink
from collector.intakes.ami.state.wanted import CLASSES
from collector.logs import Sparing, place
from collector.supervisor import wait_at_most

log = structlog.get_logger("collector.ami")

T = TypeVar("T")
P = ParamSpec("P")

BOOTED: Final = "FullyBooted"
"""Name of the event that follows once all modules are started."""
_READ: Final = 64 << 10
_MOST_ITEMS: Final = 100_000
"""Most items retained of one answer."""


@dataclass(frozen=True, slots=True)
class Times:
    """Time limits and intervals of a connection, in s.

    `connect` limits connecting, and each step of the login. `booted` limits the waits for
    FullyBooted and for the list of actions; without FullyBooted, Asterisk is asked every `again`
    whether it is fully started. A Ping is sent after `quiet` without a byte. `answer` limits the
    time between two parts of an answer. The state is asked for again every `poll`.
    Questions that the sink calls stale are asked after `look`; while they stay stale, after pauses
    that double up to `look_most`.
    """

    connect: float = 10.0
    booted: float = 1.0
    again: float = 3.0
    quiet: float = 15.0
    answer: float = 20.0
    poll: float = 60.0
    look: float = 2.0
    look_most: float = 30.0


@dataclass(slots=True)
class _Question:
    """An action that was sent, and its answer so far."""

    action: str
    future: asyncio.Future[Answer]
    answer: Answer | None = None
    items: list[Message] = field(default_factory=list)


class Connection:
    """An open connection, from the banner on. Its coroutines raise Lost when it ends.

    `confidential` is whether nobody between the two ends can read it. `unanswerable` are questions
    that are not asked; questions that Asterisk refuses are added to it.
    """

    def __init__(
        self,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        sink: Sink,
        wanted: Mapping[str, frozenset[str]],
        seen: Seen,
        *,
        unanswerable: set[str],
        confidential: bool,
        times: Times,
    ) -> None:
        self._reader, self._writer = streams
        self._sink, self._seen, self._times = sink, seen, times
        self._unanswerable, self._confidential = unanswerable, confidential
        # Other clients' ActionIDs appear in events: a random prefix tells ours apart.
        self._prefix = f"uc{secrets.token_hex(8)}-"
        self._splitter, self._messages = Splitter(), Reader(wanted, self._prefix)
        self._questions: dict[int, _Question] = {}
        self._sent = 0
        self._greeted, self._booted = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._read_at = self._heard_at = self._loop.time()
        self._failures = Sparing()

    async def during(self, talk: Coroutine[Any, Any, T]) -> T:
        """Read while `talk` runs; return its result, and close. Raises Lost if the other end goes.

        `talk` is cancelled then.
        """
        reading, talking = asyncio.create_task(self._read()), asyncio.create_task(talk)
        try:
            await asyncio.wait([reading, talking], return_when=asyncio.FIRST_COMPLETED)
            # The error of the talk is more specific: Asterisk closes after it refuses a login.
            if not talking.done():
                reading.result()
            return await talking
        finally:
            for task in (reading, talking):
                task.cancel()
            # Before the wait: a second cancellation ends that.
            self._writer.transport.abort()
            await asyncio.gather(reading, talking, return_exceptions=True)

    async def _read(self) -> None:
        """Read and handle messages until the connection ends."""
        while True:
            try:
                data = await self._reader.read(_READ)
            except OSError:
                raise Lost(End.CLOSED) from None
            if not data:
                raise Lost(End.CLOSED)
            self._read_at = self._loop.time()
            try:
                messages = self._splitter.feed(data)
            except NotAmi:
                raise Lost(End.NOT_AMI) from None
            if self._splitter.greeted:
                self._greeted.set()
            for raw in messages:
                self._take(raw)
            if self._splitter.too_long:
                self._seen.drops[Drop.TOO_LONG] += self._splitter.too_long
                self._splitter.too_long = 0
            self._seen.received += len(data)
            # A read that finds bytes does not yield: in a flood nothing else would run.
            await asyncio.sleep(0)

    async def login(self, user: str, secret: str) -> None:
        """Log in by MD5 challenge, or by the secret if none is offered and nobody can read it."""
        await self._in_time(self._greeted.wait())
        challenged = await self._in_time(self._ask("Challenge", AuthType="MD5"))
        challenge = challenged.message.get("Challenge")
        if challenged.refusal is None and challenge:
            proof = {"AuthType": "MD5", "Key": login_key(challenge, secret)}
        elif challenged.refusal is Refusal.SHUTTING_DOWN:
            raise Lost(End.SHUTTING_DOWN)
        elif self._confidential:
            proof = {"Secret": secret}
        else:
            raise Lost(End.NO_CHALLENGE)
        asking = self._ask("Login", Username=user, **proof, Events=",".join(sorted(CLASSES)))
        answer = await self._in_time(asking)
        if answer.refusal is Refusal.SHUTTING_DOWN:
            raise Lost(End.SHUTTING_DOWN)
        if answer.refusal is not None:
            raise Lost(End.LOGIN_REFUSED)

    async def _in_time(self, waiting: Awaitable[T]) -> T:
        """Await a step of the login. Raises Lost if it takes too long."""
        try:
            async with asyncio.timeout(self._times.connect):
                return await waiting
        except TimeoutError:
            raise Lost(End.TIMEOUT) from None

    async def booted(self) -> None:
        """Wait until Asterisk has started all of its modules."""
        await wait_at_most(self._times.booted, self._booted)
        # Without the class `system` no FullyBooted comes.
        while not self._booted.is_set() and "CoreStatus" not in self._unanswerable:
            answer = await self._answer(self._ask("CoreStatus"))
            if answer is None or answer.refusal is None:
                break
            if answer.refusal is Refusal.DENIED:
                self._cannot_ask({"CoreStatus"})
            else:
                await asyncio.sleep(self._times.again)
        self._booted.set()

    async def allowed(self) -> frozenset[str] | None:
        """Names of the actions that the account may use; None if Asterisk does not answer."""
        listing, ping = self._ask("ListCommands"), self._ask("Ping")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._times.booted):
                # Answers come in order: none can follow the Ping's.
                await ping
        if not listing.done() or (answer := listing.result()).refusal is not None:
            return None
        return actions_listed(answer.raw)

    async def follow(self) -> None:
        """Ask for the present state, then keep the connection alive and repeat the questions."""
        listed = await self.allowed()
        if listed:
            self._unanswerable.clear()
            self._cannot_ask(set(STATE) - listed)
        await self._inquire(STATE)
        asked = polled = self._loop.time()
        pause = self._times.look
        while True:
            now = self._loop.time()
            stale = self._sink.stale.intersection(one for one in STATE if self._can_ask(one))
            is_due = now >= polled + self._times.poll
            if is_due or (stale and now >= asked + pause):
                wanted = stale.union(POLLED if is_due else ())
                await self._inquire(action for action in STATE if action in wanted)
                asked = self._loop.time()
                polled = asked if is_due else polled
                # A state that does not stay right must not make Asterisk list all the time.
                pause = min(2 * pause, self._times.look_most)
            elif not stale and now >= asked + self._times.look_most:
                pause = self._times.look
            if now >= self._read_at + self._times.quiet:
                await self._answer(self._ask("Ping"))
            await asyncio.sleep(self._times.look)

    async def _inquire(self, actions: Iterable[str]) -> None:
        """Ask questions about the state in one write, and pass the answers to the sink."""
        questions = [self._question(action) for action in actions if self._can_ask(action)]
        self._writer.write(b"".join([data for data, _ in questions]))
        await self._answer(asyncio.gather(*(answer for _, answer in questions)))
        self._tell(self._sink.asked)

    def _can_ask(self, action: str) -> bool:
        return action not in self._unanswerable and (
            self._confidential or action not in WITH_SECRETS
        )

    def _ask(self, action: str, **headers: str) -> asyncio.Future[Answer]:
        """Send an action; return the future of its complete answer."""
        data, answer = self._question(action, **headers)
        self._writer.write(data)
        return answer

    def _question(self, action: str, **headers: str) -> tuple[bytes, asyncio.Future[Answer]]:
        """Register an action about to be sent; return its bytes and the future of its answer."""
        self._sent += 1
        question = _Question(action, self._loop.create_future())
        self._questions[self._sent] = question
        return action_bytes(action, f"{self._prefix}{self._sent}", **headers), question.future

    async def _answer(self, answer: asyncio.Future[T]) -> T | None:
        """Wait for an answer as long as parts of it arrive.

        Returns None if only other messages arrive, since the events of an Asterisk that does not
        answer are still useful. Raises Lost if nothing arrives at all.
        """
        while True:
            try:
                async with asyncio.timeout(self._times.answer):
                    return await asyncio.shield(answer)
            except TimeoutError:
                since = self._loop.time() - self._times.answer
                if self._heard_at > since:
                    continue
                if self._read_at <= since:
                    raise Lost(End.SILENT) from None
                self._seen.drops[Drop.UNANSWERED] += len(self._questions)
                self._questions.clear()
                return None

    def _take(self, raw: bytes) -> None:
        parsed = self._messages.read(raw)
        match parsed:
            case Message():
                self._seen.events[parsed.event] += 1
                if parsed.event == BOOTED:
                    self._booted.set()
                self._tell(self._sink.event, parsed)
            case None:
                self._seen.unwanted += 1
            case Drop():
                self._seen.drops[parsed] += 1
            case Answer() | Item():
                self._hear(parsed)

    def _hear(self, part: Answer | Item) -> None:
        """Handle a part of an answer; resolve the answer's future once it is complete."""
        self._heard_at = self._loop.time()
        question = self._questions.get(part.number)
        if question is None:
            self._seen.drops[Drop.FOREIGN] += 1
            return
        if isinstance(part, Answer):
            question.answer = part
            if part.refusal is None and part.message.get("EventList") == "start":
                return
        elif not part.complete:
            if part.message is not None and len(question.items) < _MOST_ITEMS:
                question.items.append(part.message)
            elif part.message is not None:
                self._seen.drops[Drop.LIST_TOO_LONG] += 1
            return
        del self._questions[part.number]
        if question.answer is not None:
            self._finish(question, question.answer)

    def _finish(self, question: _Question, answer: Answer) -> None:
        if question.action in STATE:
            if answer.refusal in {None, Refusal.NONE}:
                self._tell(self._sink.answer, question.action, answer.message, question.items)
            elif answer.refusal in {Refusal.DENIED, Refusal.UNKNOWN} and self._booted.is_set():
                self._cannot_ask({question.action})
        if not question.future.done():
            question.future.set_result(answer)

    def _cannot_ask(self, actions: set[str]) -> None:
        """Stop asking refused questions: each try is a security event of the Asterisk."""
        self._unanswerable |= actions
        self._seen.refused.update(actions)

    def _tell(self, method: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        # One message that cannot be handled must not end the connection.
        except Exception as error:  # noqa: BLE001
            self._seen.drops[Drop.FAILED] += 1
            self._failures.info(log, "a message was dropped", reason=Drop.FAILED, why=place(error))
