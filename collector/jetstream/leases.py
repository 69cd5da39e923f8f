"""Leases in a key-value bucket of JetStream, and a lock of the rollup made of one.

The bucket is made when it is first needed. Its entries have no expiry: see `collector/lease.py`.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

import structlog
from nats.aio.client import Client
from nats.js.errors import BucketNotFoundError, KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from collector.jetstream.connection import FAILURES, Connection, NatsUnavailable
from collector.lease import Entry, Lease, Read, Rest, Terms
from collector.settings import Settings
from collector.state import LockBusy, NotHeld, RollingLock, SharedLock
from collector.supervisor import beside

log = structlog.get_logger("collector.jetstream")

PUBLISHER: Final = "publisher"
"""Key of the lease of the publisher that is at work."""
ROLLUP: Final = "rollup"
"""Key of the lease that is held while a day is computed or reports are erased."""
_LOCK_LOOK_S: Final = 0.2
_LOOK_S: Final = 1.0


def own_name(work: str) -> str:
    """Return a name for this process that no other has; `work` says what it does."""
    return f"{work} on {socket.gethostname()} (process {os.getpid()}, {secrets.token_hex(3)})"


def now() -> float:
    """Return the time since boot in s, in which a suspended machine counts too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class _Refused(Exception):
    """The entry has another revision than the writer knew."""


class Bucket:
    """The bucket of a network's leases."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection = connection
        self._name = f"{settings.nats_stream}-leases"
        self._replicas = settings.nats_replicas
        self._client: Client | None = None
        self._bucket: KeyValue | None = None

    async def read(self, key: str) -> Entry | None:
        """Return an entry. Raises NatsUnavailable."""
        try:
            found = await (await self._opened()).get(key)
        except KeyNotFoundError:
            return None
        except FAILURES as error:
            raise self._unavailable(error) from error
        return Entry(found.revision or 0, (found.value or b"").decode(errors="replace"))

    async def put(self, key: str, holder: str, *, last: int) -> int:
        """Store an entry if its revision is still `last`; return the new one.

        Raises _Refused, and NatsUnavailable: then it may be stored all the same.
        """
        try:
            return await (await self._opened()).update(key, holder.encode(), last=last)
        except KeyWrongLastSequenceError as error:
            raise _Refused from error
        except FAILURES as error:
            raise self._unavailable(error) from error

    async def _opened(self) -> KeyValue:
        client = await self._connection.client()
        if client is not self._client or self._bucket is None:
            jetstream = await self._connection.jetstream()
            try:
                self._bucket = await jetstream.key_value(self._name)
            except BucketNotFoundError:
                # Another process may make it at the same time, which JetStream allows.
                self._bucket = await jetstream.create_key_value(
                    bucket=self._name,
                    description="who computes the days of this network",
                    history=1,
                    replicas=self._replicas,
                )
            self._client = client
        return self._bucket

    def _unavailable(self, error: Exception) -> NatsUnavailable:
        # The bucket may be gone, which is looked at again.
        self._bucket = None
        return NatsUnavailable(f"leases in NATS: {str(error) or type(error).__name__}")


class Keeper:
    """Takes one lease and keeps it, or waits for it. `me` is the name of this process."""

    def __init__(self, bucket: Bucket, key: str, me: str, terms: Terms) -> None:
        self._bucket = bucket
        self._key = key
        self._me = me
        self._terms = terms
        self._lease = Lease(me, terms)
        self._changed = asyncio.Event()
        self.why = ""
        """The reason why the last step failed; empty if it did not."""

    @property
    def holder(self) -> str:
        """The name of the last known holder; empty if there was none."""
        return self._lease.holder

    @property
    def holds(self) -> bool:
        """Whether this process may work now."""
        return self._lease.holds(now())

    def check(self) -> None:
        """Raise NotHeld unless this process may work now."""
        if not self.holds:
            raise NotHeld(f"the lease `{self._key}` is not held")

    async def run(self) -> None:
        """Take and keep the lease, until cancelled."""
        while True:
            await self.step()

    async def step(self) -> None:
        """Do one step, or rest until the next is due."""
        step = self._lease.step(now())
        if isinstance(step, Rest):
            await asyncio.sleep(max(0.0, step.until - now()))
            return
        try:
            async with asyncio.timeout(self._terms.margin_s):
                if isinstance(step, Read):
                    entry = await self._bucket.read(self._key)
                    self._lease.found(entry, now())
                else:
                    sent = now()
                    revision = await self._bucket.put(self._key, self._me, last=step.last)
                    self._lease.stored(revision, sent)
        except _Refused:
            self._lease.refused()
        except (NatsUnavailable, TimeoutError) as error:
            self._lease.failed(now())
            self.why = str(error) or "NATS does not answer"
        except asyncio.CancelledError:
            self._lease.failed(now())
            raise
        else:
            self.why = ""
        self._changed.set()
        # The library waits with `asyncio.wait_for`, which in Python 3.11 loses a cancellation that
        # comes together with the reply.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError

    async def lost(self) -> None:
        """Return when the lease is not held, at once if it is not."""
        while (left := self._lease.ends - now()) > 0:  # noqa: ASYNC110 - time ends it, no event
            await asyncio.sleep(left)

    async def won(self) -> None:
        """Return when the lease is held; `run` must run meanwhile."""
        while not self.holds:
            self._changed.clear()
            await self._changed.wait()

    async def release(self) -> None:
        """Stop working, and free the lease if NATS can be reached."""
        held, last = self.holds, self._lease.give_up()
        if not held:
            return
        # If it cannot be freed, others get it once they have seen for long that it is not renewed.
        with suppress(NatsUnavailable, _Refused, TimeoutError):
            async with asyncio.timeout(self._terms.margin_s):
                if last is None:
                    # A renewal was interrupted, whose revision is unknown.
                    entry = await self._bucket.read(self._key)
                    if entry is not None and entry.holder == self._me:
                        last = entry.revision
                if last is not None:
                    await self._bucket.put(self._key, "", last=last)


class LeasedLock(RollingLock):
    """The lock of the rollup between machines: the file of this one, and a lease for all.

    `pause_s` is the least time between a release and the next use by this process.
    """

    def __init__(
        self, file: SharedLock, bucket: Bucket, me: str, *, ttl_s: float, pause_s: float = 0.0
    ) -> None:
        self._file = file
        self._bucket = bucket
        self._me = me
        self._terms = Terms(ttl_s, min(_LOCK_LOOK_S, ttl_s / 10))
        self._pause_s = pause_s
        self._free_at = -math.inf
        self._keeper: Keeper | None = None
        self.holder = file.holder

    def check(self) -> None:
        """Raise NotHeld unless this process holds the lock now."""
        if self._keeper is None:
            raise NotHeld("the lock of the rollup is not held")
        self._keeper.check()

    @asynccontextmanager
    async def held(
        self, *, limit_s: float = math.inf, busy: Callable[[], None] = lambda: None
    ) -> AsyncIterator[None]:
        """Hold the lock; `busy` is called if another holds it, whose name is then in `holder`.

        Raises LockBusy after `limit_s` seconds, NotHeld if NATS cannot be reached, OSError.
        """
        self.holder = self._file.holder
        deadline = now() + limit_s
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._file.held(limit_s=limit_s, busy=busy))
            await asyncio.sleep(max(0.0, self._free_at + self._pause_s - now()))
            keeper = Keeper(self._bucket, ROLLUP, self._me, self._terms)
            stack.push_async_callback(keeper.release)
            await self._take(keeper, deadline, busy)
            await stack.enter_async_context(beside(keeper.run()))
            self._keeper = keeper
            try:
                yield
            finally:
                self._keeper = None
                self._free_at = now()

    async def _take(self, keeper: Keeper, deadline: float, busy: Callable[[], None]) -> None:
        while True:
            await keeper.step()
            if keeper.holds:
                return
            if keeper.why:
                raise NotHeld(f"the lock of the rollup cannot be had: {keeper.why}")
            if now() >= deadline:
                raise LockBusy(f"the lock of the rollup is held by {self.holder}")
            if keeper.holder:
                self.holder = keeper.holder
                busy()


@asynccontextmanager
async def rollup_lock(
    settings: Settings, file: SharedLock, work: str, *, pause_s: float
) -> AsyncIterator[LeasedLock]:
    """Provide the lock of the rollup of all machines; `work` says who uses it."""
    async with Connection(settings, name=f"{ROLLUP}-lock") as opened:
        bucket = Bucket(opened, settings)
        yield LeasedLock(file, bucket, own_name(work), ttl_s=settings.lease, pause_s=pause_s)


@asynccontextmanager
async def publisher_lease(settings: Settings, work: str) -> AsyncIterator[Keeper]:
    """Provide the lease of the publisher at work, which is released at exit."""
    async with Connection(settings, name=f"{PUBLISHER}-lease") as opened:
        terms = Terms(settings.lease, min(_LOOK_S, settings.lease / 10))
        keeper = Keeper(Bucket(opened, settings), PUBLISHER, own_name(work), terms)
        try:
            yield keeper
        finally:
            await keeper.release()
