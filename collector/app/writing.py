"""The process of `collector write`: stores what the stream holds, and serves no senders."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from collector.app import listener_of, metrics_page, spare_collections
from collector.delivery import Deliveries, Targets
from collector.delivery.writing import Writing
from collector.health import private_site
from collector.jetstream.board import Board
from collector.jetstream.connection import Connection, NatsUnavailable, connection
from collector.jetstream.pulling import Puller
from collector.jetstream.stream import ensure, look
from collector.listen import listening
from collector.memory import Choice
from collector.metrics import Metrics
from collector.orders import Cleared, ErasureOrder
from collector.outbox import FILE, Outbox, OutboxFile, Queue, check_at_start, read_at_start
from collector.outbox.delivering import DeliveryLock
from collector.owners.clearing import Clearing
from collector.parts import influx_of, made_by, outbox_of, outboxes_of, participation, retention
from collector.privacy import ServerPseudonym
from collector.record_keeping import Records
from collector.retention import prepare
from collector.setting_types import Address
from collector.settings import Settings
from collector.state import PARTICIPANT, locked
from collector.supervisor import Supervisor, stop_event
from collector.systemd import Notifier

log = structlog.get_logger("collector.app")

_LOOK_S: Final = 5.0


class WriterHealth:
    """The health of a writer, which is ready while it stores or waits for messages."""

    def __init__(
        self, loops: Sequence[Writing[Any]], outbox: Outbox, supervisor: Supervisor
    ) -> None:
        self._loops = loops
        self._outbox = outbox
        self._supervisor = supervisor

    def gone(self) -> list[str]:
        """Names of the loops that wait for a restart, and `outbox` if its thread has ended."""
        return [*self._supervisor.failing, *([] if self._outbox.alive else ["outbox"])]

    def unavailable(self) -> str | None:
        """The reason why messages stay in the stream, or None."""
        stopped = [f"{one.name}: {one.obstacle}" for one in self._loops if one.obstacle]
        return "; ".join(stopped) or None


class WriterDuties:
    """Carries out orders of owners in a writer, which has dead letters only; see `Duties`."""

    def __init__(self, clearing: Clearing, lock: DeliveryLock) -> None:
        self._clearing = clearing
        self._lock = lock

    async def erase(
        self,
        _orders: Sequence[ErasureOrder],
        find: Callable[[ServerPseudonym], ErasureOrder | None],
    ) -> Mapping[ErasureOrder, Cleared]:
        """Wait until no batch from before the orders is in hand, then delete dead letters."""
        await self.settle()
        return await self._clearing.erase(find)

    async def settle(self) -> None:
        """Wait until no batch is in hand that was begun before."""
        async with self._lock.alone():
            pass

    async def choose(self, _choices: Sequence[Choice]) -> None:
        """Do nothing: there is no intake."""

    async def notice(self) -> None:
        """Do nothing: nothing is rolled up here."""

    async def erase_again(self, *_: object) -> bool:
        """Leave it to a receiver."""
        return False


@dataclass(frozen=True, slots=True)
class RunningWriter:
    """A running writer: the address of its metrics, its health, and its supervisor."""

    metrics: Address
    health: WriterHealth
    supervisor: Supervisor


@asynccontextmanager
async def writing(settings: Settings) -> AsyncIterator[RunningWriter]:
    """Write from entry to exit, which stores the batches in hand and takes up to 10 s.

    The state directory holds the dead letters, in an outbox whose other entries are those that
    `collector outbox retry` has queued again. Raises StateError, OutboxUnavailable, OSError.
    """
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(locked(settings.state_dir))
        metrics = Metrics()
        check_at_start(directory / FILE, metrics)
        read_at_start(directory / FILE, metrics, OutboxFile.last_id)
        outbox = await stack.enter_async_context(outbox_of(settings, directory, metrics))
        supervisor = Supervisor(metrics)
        await stack.enter_async_context(supervisor.thread("outbox", lambda: outbox.alive))
        influx = await stack.enter_async_context(influx_of(settings, retry_ping=False))
        records = stack.enter_context(closing(Records(settings)))
        delivered, _ = made_by(influx, retention(settings))
        targets = Targets(influx, partial(prepare, influx, delivered), records.target)
        wants_records = settings.telemetrics or bool(settings.records_url.get_secret_value())
        in_hand = DeliveryLock(settings.state_dir)
        again = Deliveries(outbox, targets.of(metrics, records=wants_records), metrics, in_hand)
        for one in again:
            loop = supervisor.loop(one.name, one.run, stop=again.stop)
            await stack.enter_async_context(loop)
        to = await stack.enter_async_context(
            connection(settings, name=f"collector write {settings.instance}")
        )
        loops = [
            Writing(
                Puller(to, settings.nats_stream, queue),
                target,
                outbox,
                Board(to, settings),
                in_hand,
                metrics,
                queue=queue,
            )
            for queue, target in targets.of(metrics, records=wants_records).items()
        ]
        outboxes = outboxes_of(settings)
        # Remains of rows that an earlier run deleted.
        await asyncio.to_thread(outboxes.scrub)
        orders = await stack.enter_async_context(
            participation(
                settings, PARTICIPANT, "write", WriterDuties(Clearing(outboxes, in_hand), in_hand)
            )
        )
        await stack.enter_async_context(supervisor.loop("orders", orders, vital=False))
        watch = partial(_watch, to, settings, metrics)
        await stack.enter_async_context(supervisor.loop("stream", watch, vital=False))
        for writer in loops:
            loop = supervisor.loop(writer.name, writer.run, stop=partial(_stop, loops))
            await stack.enter_async_context(loop)
        health = WriterHealth(loops, outbox, supervisor)
        address = await stack.enter_async_context(
            listening(
                private_site(metrics_page(metrics), health),
                settings.metrics_listen,
                listener_of(settings, metrics, "metrics"),
                drain_s=0,
            )
        )
        log.info("serving", role="write", metrics=str(address), stream=settings.nats_stream)
        async with Notifier().serving(lambda: supervisor.broken is None):
            yield RunningWriter(address, health, supervisor)
        log.info("stopping", role="write")


def _stop(loops: Sequence[Writing[Any]]) -> None:
    """Make all loops end at the same time."""
    for one in loops:
        one.stop()


async def _watch(to: Connection, settings: Settings, metrics: Metrics) -> None:
    """Make the stream and its consumers if they are missing, and measure them, for ever."""
    while True:
        try:
            jetstream = await to.jetstream()
            for made in await ensure(jetstream, settings):
                log.info("made in JetStream", what=made)
            found = await look(jetstream, settings)
        except NatsUnavailable as error:
            # The loops tell the operator.
            log.debug("the stream was not measured", why=str(error))
        else:
            if found.stream is not None:
                metrics.stream_bytes.set(found.stream.state.bytes)
            for queue in Queue:
                info = found.consumers.get(queue)
                if info is not None:
                    waiting = (info.num_pending or 0) + (info.num_ack_pending or 0)
                    metrics.stream_waiting.labels(queue).set(waiting)
        await asyncio.sleep(_LOOK_S)


async def write(settings: Settings) -> None:
    """Run a writer until SIGTERM or SIGINT. Raises CannotWork and the errors of `writing`."""
    stop = stop_event()
    # It has no files to read again.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    async with writing(settings) as at:
        spare_collections()
        await at.supervisor.wait(stop)
