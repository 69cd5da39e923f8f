"""The running AMI intake: follows each Asterisk and stores its points at every flush.

Only the first worker connects. The loops of the Asterisks and of the flush are supervised.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import structlog

from collector.asterisks import AmiAccount, Asterisk, asterisks
from collector.intakes import live
from collector.intakes.ami import NAME
from collector.intakes.ami.follower import UNWANTED, Follower
from collector.intakes.ami.protocol import Drop
from collector.intakes.ami.seen import Seen
from collector.intakes.ami.state.state import State
from collector.intakes.intake import IntakeContext, OpenIntake
from collector.lines import Point
from collector.logs import place
from collector.outbox import OutboxUnavailable
from collector.settings import SettingsError

log = structlog.get_logger("collector.ami")

_UNAVAILABLE: Final = "unavailable"
"""Label of points dropped because the outbox was unavailable."""


def steady_clock(clock: Callable[[], int]) -> Callable[[], int]:
    """A monotonic clock in ns since 1970 that starts at the time of `clock`."""
    ahead = clock() - time.monotonic_ns()
    return lambda: ahead + time.monotonic_ns()


class AmiIntake(OpenIntake):
    """The open intake: it follows the Asterisks of COLLECTOR_ASTERISK_FILE that have AMI."""

    def __init__(self, context: IntakeContext) -> None:
        self._context = context
        self._metrics = context.metrics
        self._steady_ns = steady_clock(context.clock)
        self._again = asyncio.Event()
        self._followed: dict[str, tuple[Follower, AsyncExitStack]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the Asterisks until the context ends. Raises SettingsError for a wrong file."""
        try:
            await self._follow(asterisks(self._context.settings))
            self._context.on_reload(self._again.set)
            async with (
                self._context.loop("ami-flush", self._flush_for_ever),
                self._context.loop("ami-reload", self._reload_for_ever),
            ):
                yield
        finally:
            await self._follow(())

    async def _reload_for_ever(self) -> None:
        """Read the file again at each SIGHUP; a wrong file changes nothing, and is logged."""
        while True:
            await self._again.wait()
            self._again.clear()
            try:
                found = asterisks(self._context.settings)
            except SettingsError as error:
                log.error("the file of Asterisks is invalid and was not applied", why=str(error))
            else:
                await self._follow(found)
                log.info("the file of Asterisks was read again", followed=len(self._followed))

    async def _follow(self, found: Sequence[Asterisk]) -> None:
        wanted = {one.name: (one, one.ami) for one in found if one.ami is not None}
        for name, (follower, stack) in list(self._followed.items()):
            if wanted.get(name, (None,))[0] != follower.asterisk:
                del self._followed[name]
                # Its last, short flush has its own time and overwrites no other. The end of its
                # connection is intended, so it is not stored as a loss.
                await self._flush([follower], self._context.clock() // 1000 * 1000)
                await stack.aclose()
                # Removing its gauge also ends the alert that it is away.
                with contextlib.suppress(KeyError):
                    self._metrics.ami_connected.remove(name)
        for name, (asterisk, account) in wanted.items():
            if name not in self._followed:
                self._followed[name] = await self._begin(asterisk, account)

    async def _begin(
        self, asterisk: Asterisk, account: AmiAccount
    ) -> tuple[Follower, AsyncExitStack]:
        statsd = bool(asterisk.statsd_from or asterisk.statsd_sockets)
        state = State(
            asterisk.name,
            asterisk.names,
            has_statsd=statsd and bool(self._context.settings.statsd_listen),
        )
        follower = Follower(asterisk, account, state, self._context.true_state, self._steady_ns)
        stack = AsyncExitStack()
        await stack.enter_async_context(
            self._context.loop(f"ami-{asterisk.name}", follower.client.run)
        )
        return follower, stack

    async def _flush_for_ever(self) -> None:
        interval, clock = self._context.settings.statsd_flush, self._context.clock
        last = live.grid(clock(), interval)
        while True:
            await asyncio.sleep(live.until_next(clock(), interval))
            at = live.grid(clock(), interval)
            # A sleep may end a moment early: another flush with that time would replace the first.
            if at != last:
                last = at
                await self._flush([follower for follower, _ in self._followed.values()], at)

    async def _flush(self, followers: Sequence[Follower], at_ns: int) -> None:
        """Append points to the outbox; if it takes none, they are dropped and counted."""
        points: list[Point] = []
        for follower in followers:
            try:
                found, seen = follower.flush(at_ns)
            # A flush that fails for one Asterisk must not lose the others' points.
            except Exception as error:  # noqa: BLE001
                self._metrics.ami_dropped.labels(Drop.FAILED).inc()
                log.error("a flush failed", asterisk=follower.asterisk.name, why=place(error))
            else:
                points += found
                self._count(follower, seen)
        now_ns, instance = self._context.clock(), self._context.settings.instance
        entries = live.entries(points, sender=NAME, received_ns=now_ns, instance=instance)
        try:
            await self._context.outbox.append(*entries)
        except OutboxUnavailable:
            self._metrics.ami_dropped.labels(_UNAVAILABLE).inc(len(points))

    def _count(self, follower: Follower, seen: Seen) -> None:
        name, metrics = follower.asterisk.name, self._metrics
        metrics.ami_connected.labels(name).set(follower.client.connected)
        metrics.ami_bytes.labels(name).inc(seen.received)
        seen.events[UNWANTED] += seen.unwanted
        for event, number in seen.events.items():
            metrics.ami_events.labels(name, event).inc(number)
        for reason, number in seen.drops.items():
            metrics.ami_dropped.labels(reason).inc(number)
        metrics.ami_logins.labels(name).inc(seen.logins)
        for end, number in seen.ends.items():
            metrics.ami_ends.labels(name, end).inc(number)
        for action, number in seen.refused.items():
            metrics.ami_refused.labels(name, action).inc(number)
        if seen.refused:
            log.warning(
                "an Asterisk does not answer some questions: `collector check` says why",
                asterisk=name,
                questions=sorted(seen.refused),
            )
