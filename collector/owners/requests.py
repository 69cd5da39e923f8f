"""The queue of erasure requests: an hourly limit, durable storage, and the loop that does them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, InitVar, dataclass
from enum import Enum
from typing import Final

import structlog

from collector.influx import InfluxUnavailable
from collector.logs import place
from collector.memory import Action, ErasureRequest, MemoryUnavailable, State
from collector.orders import OrdersUnavailable
from collector.owners.choices import Choices
from collector.owners.erasure import Eraser
from collector.owners.erasure_records import Receipt
from collector.owners.parts import Parts
from collector.privacy import ServerPseudonym
from collector.sqlite.errors import StoreUnavailable
from collector.supervisor import wait_at_most

log = structlog.get_logger("collector.owners")

_PATIENCE_S: Final = 50.0
"""Longest time that a request waits for its receipt."""
_LOOK_S: Final = 2.0
"""Interval of checks for requests in the memory."""
_AWAIT_S: Final = 0.2
"""Interval of checks for the receipt of an erasure, which another process may do."""
_RETRY_S: Final = 5.0
_RECEIPTS_S: Final = 3600


class Later(Enum):
    """Reason why there is no receipt yet."""

    QUEUED = "queued"
    """The hourly limit is exceeded: an operator must release the request first."""
    DELAYED = "delayed"
    """The request is stored, and done as soon as possible."""


@dataclass(eq=False)
class Erasures:
    """Accepts erasure requests in every worker, and does them in order in the first one.

    `per_hour` is the hourly limit; `done` is called after each erasure. `known_everywhere_s` is the
    time until every worker knows a choice: reports accepted until then are erased too.
    """

    parts: InitVar[Parts]
    eraser: Eraser
    choices: Choices
    _: KW_ONLY
    per_hour: int
    known_everywhere_s: float
    done: Callable[[], None]

    def __post_init__(self, parts: Parts) -> None:
        self._metrics = parts.metrics
        self._stored = parts.memory.erasures
        self._woken = asyncio.Event()
        self._failed: str | None = None

    def wake(self) -> None:
        """Make `run` look for requests at once, since the memory has changed."""
        self._woken.set()

    async def ask(self, server: ServerPseudonym, action: Action) -> Receipt | Later:
        """Request an erasure and wait for its receipt. Raises MemoryUnavailable if not stored."""
        number, state = await asyncio.to_thread(
            self._stored.ask_limited, server, action, time.time_ns(), per_hour=self.per_hour
        )
        if state is State.QUEUED:
            self._metrics.erasures.labels("queued").inc()
            log.warning("an erasure waits for an operator", outcome="queued")
            return Later.QUEUED
        self._woken.set()
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            asked = await asyncio.to_thread(self._stored.one, number)
            if asked is not None and asked.state is State.DONE:
                # The erasure is done in any case, and `watch` reads the choices within seconds.
                with contextlib.suppress(MemoryUnavailable):
                    await self.choices.refresh()
                return Receipt.read(asked.plan)
            if asked is None or asked.delayed:
                break
            await asyncio.sleep(_AWAIT_S)
        self._metrics.erasures.labels("delayed").inc()
        return Later.DELAYED

    async def opt_in(self, server: ServerPseudonym) -> None:
        """End an opt-out, at every receiver if NATS can be reached. Raises MemoryUnavailable."""
        await self.choices.choose(server, out=False)
        # Otherwise it is told together with its exchange through InfluxDB.
        with contextlib.suppress(OrdersUnavailable):
            await self.eraser.tell(self.choices.of(server))

    async def follow(self, server: ServerPseudonym, *, until_ns: int) -> None:
        """Request the erasure of reports held here whose owner asked another collector."""
        await asyncio.to_thread(
            self._stored.ask, server, Action.NOTICE, time.time_ns(), until_ns=until_ns
        )
        self._woken.set()

    async def run(self) -> None:
        """Do pending erasures, until cancelled."""
        while True:
            self._woken.clear()
            pause = _LOOK_S if await self.once() else _RETRY_S
            await wait_at_most(pause, self._woken)

    async def once(self) -> bool:
        """Do all pending erasures once; return False if one failed.

        One that fails for a reason of its own does not delay the others.
        """
        why: str | None = None
        tried: set[int] = set()
        # A request that arrives now waits for its own try.
        delayed: set[int] | None = tried
        try:
            while asked := await self._next(tried):
                tried.add(asked.id)
                try:
                    await self._do(asked)
                except (InfluxUnavailable, StoreUnavailable, OrdersUnavailable):
                    raise
                except Exception as error:  # noqa: BLE001 - an owner's; the others' go on
                    why = f"{type(error).__name__} at {place(error)}"
        except (InfluxUnavailable, StoreUnavailable, OrdersUnavailable) as error:
            # None of the others would succeed either.
            why, delayed = type(error).__name__, None
        if why is not None:
            await self._delay(why, delayed)
            return False
        if self._failed is not None:
            log.info("erasures can be done again")
        self._failed = None
        return True

    async def _next(self, tried: set[int]) -> ErasureRequest | None:
        """Return the next erasure not in `tried`, after storing the opt-outs of all requests."""
        asked = await asyncio.to_thread(
            self._stored.all, State.PLANNED, State.ACCEPTED, State.QUEUED
        )
        queued = sum(one.state is State.QUEUED for one in asked)
        self._metrics.erasures_queued.set(queued)
        self._metrics.erasures_waiting.set(len(asked) - queued)
        for one in asked:
            # Only once: the owner may have opted in again since the request.
            if one.action is Action.OPT_OUT and one.state is State.ACCEPTED and not one.found:
                await self.choices.choose(one.server, out=True)
                await asyncio.to_thread(self._stored.mark_choice_stored, one.id)
        return next(
            (one for one in asked if one.state is not State.QUEUED and one.id not in tried), None
        )

    async def _do(self, asked: ErasureRequest) -> None:
        if asked.action is Action.OPT_OUT:
            await asyncio.sleep(self.known_everywhere_s)
            await self.eraser.tell(self.choices.of(asked.server))
        if asked.action is Action.OPT_IN:
            await self.opt_in(asked.server)
            await asyncio.to_thread(
                self._stored.finish, asked, receipt=Receipt().written(), notice=None
            )
        else:
            await self.eraser.erase(asked)
        oldest = time.time_ns() - _RECEIPTS_S * 10**9
        await asyncio.to_thread(self._stored.forget_receipts, asked_before_ns=oldest)
        self._metrics.erasures.labels("done").inc()
        log.info("owner's request carried out", outcome="done", action=asked.action.value)
        self.done()

    async def _delay(self, why: str, delayed: set[int] | None) -> None:
        """Reply to those who wait for these requests, or for any, that they are done later."""
        if self._failed != why:
            log.warning("erasures wait until they can be done", outcome="delayed", why=why)
        self._failed = why
        # If even this cannot be stored, waiting requests end with their own time limit.
        with contextlib.suppress(MemoryUnavailable):
            await asyncio.to_thread(self._stored.delay, delayed)
