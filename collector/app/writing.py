"""The process of `collector write`: stores what the stream holds, and serves no senders."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from collector.app import OwnHealth, metrics_page, serving_privately, tune_interpreter
from collector.app.part import OpenPart
from collector.delivery.influx import store_targets
from collector.delivery.loop import deliveries, stop_all
from collector.delivery.writing import Writing
from collector.health import Health
from collector.jetstream.board import Board
from collector.jetstream.connection import Connection, NatsUnavailable
from collector.jetstream.duties import Duties, FindOrder
from collector.jetstream.pulling import Puller
from collector.jetstream.stream import ensure, look
from collector.metrics import Metrics
from collector.orders import Cleared, ErasureOrder
from collector.outbox import FILE, Outboxes, OutboxFile, Queue, check_at_start, read_at_start
from collector.outbox.delivering import DeliveryLock
from collector.owners.clearing import clear
from collector.parts import influx_of, made_by, outbox_of, outboxes_of, participation, retention
from collector.record_keeping import Records
from collector.retention import prepare
from collector.setting_types import Address
from collector.settings import Settings
from collector.state import PARTICIPANT, locked
from collector.supervisor import Supervisor, stop_event
from collector.systemd import Notifier

log = structlog.get_logger("collector.app")

_LOOK_S: Final = 5.0


@dataclass(frozen=True)
class WriterDuties(Duties):
    """Carries out orders of owners in a writer, which has dead letters only; see `Duties`."""

    outboxes: Outboxes
    lock: DeliveryLock

    async def erase(
        self, _orders: Sequence[ErasureOrder], find: FindOrder
    ) -> Mapping[ErasureOrder, Cleared]:
        """Wait until no batch from before the orders is in hand, then delete dead letters."""
        await self.settle()
        return await clear(self.outboxes, self.lock, find)

    async def settle(self) -> None:
        """Wait until no batch is in hand that was begun before."""
        async with self.lock.alone():
            pass


@dataclass(frozen=True, slots=True)
class RunningWriter:
    """A running writer: the address of its metrics, its health, and its supervisor."""

    metrics: Address
    health: Health
    supervisor: Supervisor


@asynccontextmanager
async def writing(settings: Settings) -> AsyncIterator[RunningWriter]:
    """Write from entry to exit, which stores the batches in hand and takes up to 10 s.

    The state directory holds the dead letters, in an outbox whose other entries are those that
    `collector outbox retry` has queued again. Raises StateError, OutboxUnavailable, OSError.
    """
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        directory = stack.enter_context(locked(settings.state_dir))
        metrics = Metrics()
        check_at_start(directory / FILE, metrics)
        read_at_start(directory / FILE, metrics, OutboxFile.last_id)
        outbox = await enter(outbox_of(settings, directory, metrics))
        supervisor = Supervisor(metrics)
        await enter(supervisor.thread("outbox", lambda: outbox.alive))
        influx = await enter(influx_of(settings, retry_ping=False))
        records = stack.enter_context(closing(Records(settings)))
        delivered, _ = made_by(influx, retention(settings))
        make = partial(prepare, influx, delivered)
        targets = partial(store_targets, influx, make, records.target)
        wants_records = settings.telemetrics or bool(settings.records_url.get_secret_value())
        in_hand = DeliveryLock(settings.state_dir)
        again = deliveries(outbox, targets(metrics, records=wants_records), metrics, in_hand)
        for one in again:
            await enter(supervisor.loop(one.name, one.run, stop=partial(stop_all, again)))
        to = await enter(Connection(settings, name=f"collector write {settings.instance}"))
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
            for queue, target in targets(metrics, records=wants_records).items()
        ]
        outboxes = outboxes_of(settings)
        # Remains of rows that an earlier run deleted.
        await asyncio.to_thread(outboxes.scrub)
        duties = WriterDuties(outboxes, in_hand)
        orders = await enter(participation(settings, PARTICIPANT, "write", duties))
        await enter(supervisor.loop("orders", orders, vital=False))
        watch = partial(_watch, to, settings, metrics)
        await enter(supervisor.loop("stream", watch, vital=False))
        for writer in loops:
            await enter(supervisor.loop(writer.name, writer.run, stop=partial(stop_all, loops)))
        part = OpenPart(
            gone=lambda: [] if outbox.alive else ["outbox"], unavailable=partial(_obstacles, loops)
        )
        health = OwnHealth([part], supervisor)
        address = await enter(serving_privately(settings, metrics, metrics_page(metrics), health))
        log.info("serving", role="write", metrics=str(address), stream=settings.nats_stream)
        async with Notifier().serving(lambda: supervisor.broken is None):
            yield RunningWriter(address, health, supervisor)
        log.info("stopping", role="write")


def _obstacles(loops: Sequence[Writing[Any]]) -> str | None:
    """Return why messages stay in the stream, or None."""
    obstacles = [(one.name, one.progress.reason) for one in loops if one.progress.reason]
    return "; ".join(f"{name}: {reason}" for name, reason in obstacles) or None


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
        tune_interpreter()
        await at.supervisor.wait(stop)
