"""Erasures asked for: a brake, a queue that survives everything, and the loop that does them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from enum import Enum
from typing import Final

import structlog

from collector.influx import InfluxUnavailable
from collector.logs import place
from collector.memory import Action, Asked, Memory, MemoryUnavailable, State
from collector.metrics import Metrics
from collector.outbox import Outboxes
from collector.owners.choices import Choices
from collector.owners.erasure import Eraser, Receipt
from collector.privacy import ServerPseudonym
from collector.sqlite.errors import StoreUnavailable

log = structlog.get_logger("collector.owners")

_PATIENCE_S: Final = 50.0
"""How long who asks is kept waiting for the receipt."""
_LOOK_S: Final = 2.0
"""Longest pause between two looks at the memory."""
_AWAIT_S: Final = 0.2
"""Pause between two looks for the receipt of an erasure that another process does."""
_RETRY_S: Final = 5.0
_RECEIPTS_S: Final = 3600


class Later(Enum):
    """Why there is no receipt yet."""

    QUEUED = "queued"
    """More erasures than usual: an operator looks at it first."""
    DELAYED = "delayed"
    """It is remembered, and done as soon as it can be."""


class Erasures:
    """Takes erasures in, and does them in order. `done` is called after each.

    Every worker takes them in; the first one does them. `heard_s` is how long the workers take to
    hear a choice: what they accept until then is erased too.
    """

    def __init__(
        self,
        memory: Memory,
        outboxes: Outboxes,
        eraser: Eraser,
        choices: Choices,
        metrics: Metrics,
        *,
        per_hour: int,
        heard_s: float,
        done: Callable[[], None],
    ) -> None:
        self._memory = memory
        self._outboxes = outboxes
        self._eraser = eraser
        self._choices = choices
        self._metrics = metrics
        self._per_hour = per_hour
        self._heard_s = heard_s
        self._done = done
        self._woken = asyncio.Event()
        self._failed: str | None = None

    def wake(self) -> None:
        """The memory has changed."""
        self._woken.set()

    async def open(self) -> None:
        """Leave nothing on the disk of rows that an earlier run deleted from outboxes."""
        await asyncio.to_thread(self._outboxes.scrub)

    async def ask(self, server: ServerPseudonym, action: Action) -> Receipt | Later:
        """Have a server's reports erased. Raises MemoryUnavailable where it can't be remembered."""
        number, state = await asyncio.to_thread(
            self._memory.erasures.ask_braked,
            server,
            action,
            time.time_ns(),
            per_hour=self._per_hour,
        )
        if state is State.QUEUED:
            self._metrics.erasures.labels("queued").inc()
            log.warning("an erasure waits for an operator", outcome="queued")
            return Later.QUEUED
        self._woken.set()
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            asked = await asyncio.to_thread(self._memory.erasures.one, number)
            if asked is not None and asked.state is State.DONE:
                # It is done all the same: the choices are looked up again within seconds.
                with contextlib.suppress(MemoryUnavailable):
                    await self._choices.refresh()
                return Receipt.read(asked.plan)
            if asked is None or asked.delayed:
                break
            await asyncio.sleep(_AWAIT_S)
        self._metrics.erasures.labels("delayed").inc()
        return Later.DELAYED

    async def follow(self, server: ServerPseudonym, *, until_ns: int) -> None:
        """Erase what another collector's owner wanted gone and this one still held."""
        await asyncio.to_thread(
            self._memory.erasures.ask,
            server,
            Action.NOTICE,
            time.time_ns(),
            until_ns=until_ns,
        )
        self._woken.set()

    async def held(self) -> dict[ServerPseudonym, int]:
        """Each server of which an outbox holds a row: when its oldest was received, in ns.

        Raises OutboxUnavailable.
        """
        return await asyncio.to_thread(self._outboxes.servers)

    async def run(self) -> None:
        """Do what is asked, until cancelled."""
        while True:
            self._woken.clear()
            pause = _LOOK_S if await self.once() else _RETRY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    async def once(self) -> bool:
        """Do all that is asked now; False where some of it could not be done.

        One that fails for a reason of its own holds no other up.
        """
        why: str | None = None
        tried: set[int] = set()
        try:
            while asked := await self._next(tried):
                tried.add(asked.id)
                try:
                    await self._do(asked)
                except (InfluxUnavailable, StoreUnavailable):
                    raise
                except Exception as error:  # noqa: BLE001 - an owner's; the others' go on
                    why = f"{type(error).__name__} at {place(error)}"
        except (InfluxUnavailable, StoreUnavailable) as error:
            why = type(error).__name__
        if why is not None:
            await self._delay(why)
            return False
        if self._failed is not None:
            log.info("erasures can be done again")
        self._failed = None
        return True

    async def _next(self, tried: set[int]) -> Asked | None:
        """The next erasure to be done that was not tried; choices of all are kept before that."""
        asked = await asyncio.to_thread(
            self._memory.erasures.all, State.PLANNED, State.ACCEPTED, State.QUEUED
        )
        queued = sum(one.state is State.QUEUED for one in asked)
        self._metrics.erasures_queued.set(queued)
        self._metrics.erasures_waiting.set(len(asked) - queued)
        for one in asked:
            # Once only: the owner may have opted in again while this waited.
            if one.action is Action.OPT_OUT and one.state is State.ACCEPTED and not one.found:
                await self._choices.choose(one.server, out=True)
                await asyncio.to_thread(self._memory.erasures.choice_kept, one.id)
        return next(
            (one for one in asked if one.state is not State.QUEUED and one.id not in tried), None
        )

    async def _do(self, asked: Asked) -> None:
        if asked.action is Action.OPT_OUT:
            await asyncio.sleep(self._heard_s)
        if asked.action is Action.OPT_IN:
            await self._choices.choose(asked.server, out=False)
            await asyncio.to_thread(
                self._memory.erasures.finish, asked, receipt=Receipt().written(), notice=None
            )
        else:
            await self._eraser.erase(asked)
        oldest = time.time_ns() - _RECEIPTS_S * 10**9
        await asyncio.to_thread(self._memory.erasures.forget_receipts, asked_before_ns=oldest)
        self._metrics.erasures.labels("done").inc()
        log.info("erased for an owner", outcome="done", action=asked.action.value)
        self._done()

    async def _delay(self, why: str) -> None:
        if self._failed != why:
            log.warning(
                "erasures are remembered until they can be done", outcome="delayed", why=why
            )
        self._failed = why
        # Where not even that can be remembered, whoever waits for a receipt waits a little longer.
        with contextlib.suppress(MemoryUnavailable):
            await asyncio.to_thread(self._memory.erasures.delay)
