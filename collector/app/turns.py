"""The lock of the rollup and the lease of the publisher at work, which decide who computes.

Without COLLECTOR_NATS_URL the lock is a file of the state directory, and every publisher is at
work. With it, machines share both through NATS.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from collector.metrics import Metrics
from collector.parts import rollup_lock
from collector.settings import Settings
from collector.state import NotHeld, RollingLock
from collector.supervisor import Work

if TYPE_CHECKING:
    from collector.jetstream.leases import Keeper

log = structlog.get_logger("collector.app")

_RETRY_S: Final = 1.0
_LOOK_S: Final = 1.0
_PAUSE_S: Final = 0.6
"""Pause of a publisher between two uses of the lock, in which others see that it is free."""


@dataclass(frozen=True, slots=True)
class Turns:
    """The lock of the rollup, and two functions for the work that it protects.

    `check` raises NotHeld unless this process may write to the published series now. `lead` returns
    the same work as a loop that does it only while this process is the publisher at work.
    """

    lock: RollingLock
    check: Callable[[], None]
    lead: Callable[[Work], Work]


@asynccontextmanager
async def turns(whole: Settings, role: str, metrics: Metrics) -> AsyncIterator[Turns]:
    """Provide the turns of a process from entry to exit; it has a role of that name."""
    async with AsyncExitStack() as stack:
        lock = await stack.enter_async_context(rollup_lock(whole, role, pause_s=_PAUSE_S))
        if not whole.nats_url:
            yield Turns(lock, lock.check, lambda work: work)
            return
        # Without NATS its library is not needed, and need not be installed.
        from collector.jetstream.leases import publisher_lease

        keeper = await stack.enter_async_context(publisher_lease(whole, role))

        def check() -> None:
            keeper.check()
            lock.check()

        yield Turns(lock, check, lambda work: lambda: _lead(keeper, work, metrics))


async def _lead(keeper: Keeper, work: Work, metrics: Metrics) -> None:
    """Do the work whenever this process holds the lease, until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(keeper.run())
        group.create_task(_stand_by(keeper))
        while True:
            await keeper.won()
            log.info("this publisher is at work: it holds the lease")
            metrics.publisher_leads.set(1)
            try:
                await _while_held(keeper, work)
            except NotHeld as error:
                log.warning("the work on the series is interrupted", why=str(error))
                await asyncio.sleep(_RETRY_S)
            finally:
                metrics.publisher_leads.set(0)


async def _stand_by(keeper: Keeper) -> None:
    """Log who is at work instead of this process, and what prevents it from taking over."""
    told = ("", "")
    while True:
        seen = ("", "") if keeper.holds else (keeper.holder, keeper.why)
        if seen not in (told, ("", "")):
            log.info("this publisher is on standby", at_work=seen[0], why=seen[1])
        told = seen
        await asyncio.sleep(_LOOK_S)


async def _while_held(keeper: Keeper, work: Work) -> None:
    """Do the work until the lease is lost. Raises what the work raises."""
    ends = [asyncio.ensure_future(work()), asyncio.ensure_future(keeper.lost())]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not ends[0].done():
            raise NotHeld(f"the lease is lost; {keeper.why or keeper.holder}".rstrip("; "))
    finally:
        for each in ends:
            each.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
    await ends[0]
