"""Erasures asked for: a brake, a queue that survives everything, and the loop that does them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final

import structlog

from collector.influx import InfluxError
from collector.metrics import Metrics
from collector.outbox import Outbox, OutboxUnavailable
from collector.outbox.owners import Action, Asked, State
from collector.owners.choices import Choices
from collector.owners.erasure import Eraser, Receipt
from collector.privacy import ServerPseudonym

log = structlog.get_logger("collector.owners")

_PATIENCE_S: Final = 50.0
"""How long who asks is kept waiting for the receipt."""
_LOOK_S: Final = 2.0
"""How often the file is looked at: a command may have asked, or released."""
_RETRY_S: Final = 5.0
_RECEIPTS_S: Final = 3600
_HOUR_S: Final = 3600.0


class Later(Enum):
    """Why there is no receipt yet."""

    QUEUED = "queued"
    """More erasures than usual: an operator looks at it first."""
    DELAYED = "delayed"
    """It is remembered, and done as soon as it can be."""


class Brake:
    """Lets so many erasures an hour go, whoever asks and whatever they find. Pure."""

    def __init__(self, *, per_hour: int) -> None:
        self._per_hour = per_hour
        self._taken: deque[float] = deque()

    def lets(self, now: float) -> bool:
        """Whether one more may go at `now` (s, of a clock that never falls); counts it if so."""
        while self._taken and now - self._taken[0] >= _HOUR_S:
            self._taken.popleft()
        if len(self._taken) >= self._per_hour:
            return False
        self._taken.append(now)
        return True


class Erasures:
    """Takes erasures in, and does them in order. `done` is called after each."""

    def __init__(
        self,
        outbox: Outbox,
        eraser: Eraser,
        choices: Choices,
        metrics: Metrics,
        *,
        per_hour: int,
        done: Callable[[], None],
    ) -> None:
        self._outbox = outbox
        self._eraser = eraser
        self._choices = choices
        self._metrics = metrics
        self._brake = Brake(per_hour=per_hour)
        self._done = done
        self._woken = asyncio.Event()
        self._waiting: dict[int, asyncio.Future[Receipt | Later]] = {}
        self._failed: str | None = None

    async def open(self) -> None:
        """Before the rollup runs: it waits where an earlier run left an erasure half done."""
        await self._outbox.scrub()
        if await self._outbox.ask(lambda file: file.owners.asked(State.PLANNED)):
            await self._eraser.hold_rollup()

    async def ask(self, server: ServerPseudonym, action: Action) -> Receipt | Later:
        """Have a server's reports erased. Raises OutboxUnavailable where it can't be remembered."""
        if not self._brake.lets(time.monotonic()):
            await self._remember(server, action, State.QUEUED)
            self._metrics.erasures.labels("queued").inc()
            log.warning("an erasure waits for an operator", outcome="queued")
            return Later.QUEUED
        number = await self._remember(server, action, State.ACCEPTED)
        future = self._waiting.setdefault(number, asyncio.get_running_loop().create_future())
        self._woken.set()
        try:
            return await asyncio.wait_for(asyncio.shield(future), _PATIENCE_S)
        except TimeoutError:
            return Later.DELAYED

    async def follow(self, server: ServerPseudonym, *, until_ns: int) -> None:
        """Erase what another collector's owner wanted gone and this one still held."""
        await self._remember(server, Action.NOTICE, State.ACCEPTED, until_ns=until_ns)
        self._woken.set()

    async def _remember(
        self, server: ServerPseudonym, action: Action, state: State, *, until_ns: int = 0
    ) -> int:
        return await self._outbox.change(
            lambda file: file.owners.ask(server, action, state, time.time_ns(), until_ns=until_ns)
        )

    async def run(self) -> None:
        """Do what is asked, until cancelled."""
        while True:
            self._woken.clear()
            pause = _LOOK_S if await self.once() else _RETRY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    async def once(self) -> bool:
        """Do all that is asked now; False where InfluxDB or our disk did not let us."""
        try:
            while asked := await self._next():
                receipt = await self._do(asked)
                self._answer(asked.id, receipt)
        except (InfluxError, OutboxUnavailable) as error:
            self._delay(type(error).__name__)
            return False
        if self._failed is not None:
            log.info("erasures can be done again")
        self._failed = None
        return True

    async def _next(self) -> Asked | None:
        asked = await self._outbox.ask(
            lambda file: file.owners.asked(State.PLANNED, State.ACCEPTED, State.QUEUED)
        )
        queued = sum(one.state is State.QUEUED for one in asked)
        self._metrics.erasures_queued.set(queued)
        self._metrics.erasures_waiting.set(len(asked) - queued)
        return next((one for one in asked if one.state is not State.QUEUED), None)

    async def _do(self, asked: Asked) -> Receipt:
        if asked.action is Action.OPT_OUT and not asked.found:
            # Once only: the owner may have opted in again while this waited.
            await self._choices.choose(asked.server, out=True)
        if asked.action is Action.OPT_IN:
            await self._choices.choose(asked.server, out=False)
            receipt = Receipt()
            await self._outbox.change(
                lambda file: file.owners.finish(asked.id, receipt=receipt.written())
            )
        else:
            receipt = await self._eraser.erase(asked)
        oldest = time.time_ns() - _RECEIPTS_S * 10**9
        await self._outbox.change(lambda file: file.owners.forget_receipts(asked_before_ns=oldest))
        self._metrics.erasures.labels("done").inc()
        log.info("erased for an owner", outcome="done", action=asked.action.value)
        self._done()
        return receipt

    def _answer(self, number: int, answer: Receipt | Later) -> None:
        future = self._waiting.pop(number, None)
        if future is not None and not future.done():
            future.set_result(answer)

    def _delay(self, why: str) -> None:
        if self._failed != why:
            log.warning("erasures are remembered until they can be done", outcome="delayed")
        self._failed = why
        for number in list(self._waiting):
            self._metrics.erasures.labels("delayed").inc()
            self._answer(number, Later.DELAYED)
