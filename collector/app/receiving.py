"""The part that takes reports: intakes, outbox, delivery, and the services for owners."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Final

from collector import clock
from collector.abandoned import Abandoned
from collector.app.part import Base, OpenPart, Part
from collector.delivery.loop import deliveries, stop_all
from collector.expiry import Expiry
from collector.intakes import Intake, IntakeContext, layouts
from collector.intakes.door import Door
from collector.intakes.live import TrueState
from collector.intakes.proof import prove
from collector.memory import Memory
from collector.operations import Operation
from collector.outbox import FILE, Queue, check_at_start, read_at_start
from collector.outbox.delivering import DeliveryLock
from collector.owners.operations import owner_operations
from collector.owners.parts import Parts
from collector.owners.routes import MyData
from collector.owners.services import OwnerServices
from collector.owners.texts import Terms
from collector.parts import (
    hops_of,
    made_by,
    outbox_of,
    outboxes_of,
    participation,
    retention,
    targets_of,
)
from collector.privacy import Pseudonymiser
from collector.problems import RETRY_AFTER_S, Reason, Refusal
from collector.record_keeping import Records
from collector.retention import prepare
from collector.settings import Settings
from collector.signals import ERASED
from collector.state import PARTICIPANT, locked, pseudonym_key
from collector.upgrade import migrate_outbox, migrate_outboxes
from collector.worker import abandoned


@asynccontextmanager
async def receiving(base: Base) -> AsyncIterator[OpenPart]:
    """Take reports from entry to exit; draining the outbox at exit takes up to 10 s.

    Raises StateError, OutboxUnavailable, MemoryUnavailable, OSError (an address that cannot be
    listened on).
    """
    settings, whole, worker = base.settings, base.whole, base.worker
    metrics, supervisor = base.metrics, base.supervisor
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        directory = stack.enter_context(locked(settings.state_dir))
        pseudonyms = Pseudonymiser(pseudonym_key(settings.key_file, settings.state_dir))
        memory = _memory(base, directory)
        begun, records_waiting, servers = read_at_start(
            directory / FILE,
            metrics,
            lambda file: (
                clock.record_start(file, metrics),
                file.stats().waiting[Queue.RECORDS].reports,
                file.servers(),
            ),
        )
        outbox = await enter(outbox_of(settings, directory, metrics))
        machine_clock = clock.Clock(outbox, metrics, begun, instance=settings.instance)
        await enter(supervisor.thread("outbox", lambda: outbox.alive))
        retentions = retention(settings, base.intakes)
        in_hand = DeliveryLock(whole.state_dir)
        records = stack.enter_context(closing(Records(whole)))
        delivered, _ = made_by(base.influx, retentions)
        targets = await enter(
            targets_of(whole, base.influx, partial(prepare, base.influx, delivered), records.target)
        )
        loops = deliveries(
            outbox,
            targets(metrics, records=settings.telemetrics or records_waiting > 0),
            metrics,
            in_hand,
            holds=machine_clock.holds,
            sent=begun.sent,
        )

        def sent() -> dict[Queue, int]:
            return {one.queue: one.sent_id for one in loops}

        await enter(supervisor.loop("clock", partial(machine_clock.run, in_hand, sent)))
        for one in loops:
            await enter(supervisor.loop(one.name, one.run, stop=partial(stop_all, loops)))

        owners = OwnerServices(
            settings,
            Parts(
                base.influx,
                memory,
                outboxes_of(whole),
                base.daily,
                pseudonyms,
                metrics,
                in_hand,
                base.turns.lock,
                records,
                await enter(hops_of(whole)),
            ),
            layouts=layouts(base.intakes),
            changed=partial(base.signals.tell, ERASED),
            first=worker.first,
        )
        await owners.open()
        await enter(supervisor.loop("my-data", owners.run))
        if worker.first:
            orders = await enter(participation(whole, PARTICIPANT, base.role, owners.duties))
            await enter(supervisor.loop("orders", orders, vital=False))
            expiry = Expiry(
                whole.state_dir,
                metrics,
                retention_s=settings.retention_raw,
                keep_s=settings.outbox_keep,
                retentions=retentions,
            )
            for name, work in (("expiry", expiry.run), *records.chores(metrics)):
                await enter(supervisor.loop(name, work, vital=False))
            former = Abandoned(settings, targets, in_hand)
            for left in abandoned(whole.state_dir, worker.of):
                finish = partial(former.finish, left)
                await enter(supervisor.loop("abandoned", finish, vital=False))

        reloads: list[Callable[[], None]] = []

        def reload() -> None:
            for again in reloads:
                again()

        context = IntakeContext(
            settings=settings,
            shared_dir=whole.state_dir,
            is_first=worker.first,
            outbox=outbox,
            door=Door(
                trusted_proxies=settings.trusted_proxies,
                read_timeout_s=settings.read_timeout,
                unavailable=lambda: outbox.unavailable,
            ),
            pseudonyms=pseudonyms,
            stamper=machine_clock.stamper,
            clock=machine_clock.now_ns,
            opted_out=owners.choices.opted_out,
            memory=memory,
            servers=servers,
            metrics=metrics,
            loop=lambda name, work: supervisor.loop(name, work, vital=False),
            true_state=TrueState(),
            on_reload=reloads.append,
            statsd=worker.statsd,
            erase=owners.erase,
        )
        opened = [
            await enter(intake.open(context)) for intake in base.intakes if intake.is_on(settings)
        ]
        my_data = MyData(
            owners,
            partial(prove, [intake.identify for intake in opened]),
            terms=Terms(
                settings.retention_raw,
                settings.outbox_keep,
                settings.backup_keep,
                settings.retention_notices,
                retentions,
            ),
            door=Door(
                trusted_proxies=settings.trusted_proxies, read_timeout_s=settings.read_timeout
            ),
            secret=secrets.token_bytes(32),
        )
        yield OpenPart(
            routes=[
                *(route for each in opened for route in each.routes()),
                *my_data.routes(),
                *records.routes(pseudonyms),
            ],
            fast={path: one for each in opened for path, one in each.fast_handlers().items()},
            gone=lambda: [] if outbox.alive else ["outbox"],
            unavailable=lambda: (
                outbox.unavailable if outbox.alive else "the outbox's thread has ended"
            ),
            reload=reload,
        )


def _memory(base: Base, directory: Path) -> Memory:
    """Open the memory, after the outbox is checked and records of earlier versions are moved."""
    memory = Memory(base.whole.state_dir)
    check_at_start(directory / FILE, base.metrics)
    migrate_outbox(directory / FILE, memory)
    if base.worker.first:
        # Opt-outs in the outboxes of workers that do not run (yet) must hold from the first report.
        migrate_outboxes(base.whole.state_dir, memory, skip=directory)
    return memory


def _operations(settings: Settings, intakes: Sequence[Intake]) -> Iterator[Operation]:
    on = [intake for intake in intakes if intake.is_on(settings)]
    yield from owner_operations([model for intake in on for model in intake.proofs()])
    for intake in on:
        yield from intake.operations()
    if settings.telemetrics:
        from collector.record_api.operations import record_operations

        yield from record_operations()


def _elsewhere(_settings: Settings) -> Refusal:
    # With 503, clients that can will send again, and a balancer tries another server.
    return Refusal(
        Reason.WRONG_ROLE,
        "`collector publish` serves this address and takes no reports and no requests of owners:"
        " send them to a `collector receive`",
        RETRY_AFTER_S,
    )


RECEIVING: Final = Part("receiving", receiving, _operations, _elsewhere)
