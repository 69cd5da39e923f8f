"""Composition root: builds the objects of a process, connects them, opens and closes them."""

from __future__ import annotations

import asyncio
import gc
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog
from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from collector import clock
from collector.abandoned import Abandoned
from collector.asterisks import asterisks
from collector.connections import Listener
from collector.delivery import Deliveries, Targets
from collector.expiry import Expiry
from collector.fast_path import FAST_PATH, FastPath
from collector.guard import Limits
from collector.health import Handler, Health, private_site
from collector.influx import Influx
from collector.intakes import INTAKES, Intake, IntakeContext, OpenIntake, layouts
from collector.intakes.door import Door
from collector.intakes.live import TrueState
from collector.intakes.proof import prove
from collector.intakes.statsd.intake import mapping_of
from collector.intakes.statsd.sockets import placed
from collector.listen import listening
from collector.memory import Memory
from collector.metrics import Metrics
from collector.outbox import FILE, Outbox, OutboxFile, Queue, check_at_start, read_at_start
from collector.outbox.delivering import DeliveryLock
from collector.owners.erasure import Locks
from collector.owners.operations import owner_operations
from collector.owners.routes import MyData
from collector.owners.services import OwnerServices, Parts
from collector.owners.texts import Terms
from collector.parts import (
    daily_of,
    influx_of,
    other_days_of,
    outboxes_of,
    reconciler_of,
    retention,
)
from collector.privacy import Pseudonymiser
from collector.public.links import mounted
from collector.public.series import PublicSeries
from collector.public.site import Site
from collector.record_api.operations import record_operations
from collector.record_keeping import Records
from collector.retention import prepare
from collector.rollup.schedule import Schedule
from collector.setting_types import Address
from collector.settings import Settings
from collector.signals import Signals
from collector.state import ROLLUP_LOCK, SharedLock, locked, pseudonym_key
from collector.supervisor import Supervisor
from collector.systemd import Notifier, passed_sockets
from collector.upgrade import migrate_outbox, migrate_outboxes
from collector.worker import ONLY_WORKER, Worker, abandoned

log = structlog.get_logger("collector.app")


@dataclass(frozen=True, slots=True)
class Running:
    """A running collector: its addresses and its health.

    `metrics` is None in a worker, whose metrics its parent serves. `refresh` updates the gauges
    that follow a function (see `Metrics.follow`). `reload` reads the operator's files again, such
    as the mapping of StatsD.
    """

    public: Address
    metrics: Address | None
    health: Health
    refresh: Callable[[], None]
    reload: Callable[[], None]
    supervisor: Supervisor


def metrics_page(metrics: Metrics) -> Handler:
    """A handler that returns the metrics of this process."""
    page = make_aiohttp_handler(metrics.registry)

    async def handler(request: web.Request) -> web.StreamResponse:
        metrics.refresh()
        return await page(request)

    return handler


class OwnHealth:
    """The health of this process."""

    def __init__(self, outbox: Outbox, supervisor: Supervisor) -> None:
        self._outbox = outbox
        self._supervisor = supervisor

    def gone(self) -> list[str]:
        """Names of the loops that wait for a restart, and `outbox` if its thread has ended."""
        return [*self._supervisor.failing, *([] if self._outbox.alive else ["outbox"])]

    def unavailable(self) -> str | None:
        """The reason why the outbox accepts no reports, or None if it accepts them."""
        return self._outbox.unavailable if self._outbox.alive else "the outbox's thread has ended"


def check_files(settings: Settings) -> None:
    """Read the operator's files that settings name. Raises SettingsError if one is wrong."""
    asterisks(settings)
    mapping_of(settings)


def site_of(
    settings: Settings, influx: Influx, series: PublicSeries, intakes: Sequence[Intake] = INTAKES
) -> Site:
    """Build the public site, which describes the routes of owners and of the enabled senders."""
    on = [intake for intake in intakes if intake.is_on(settings)]
    proofs = [model for intake in on for model in intake.proofs]
    reporting = [operation for intake in on for operation in intake.operations()]
    return Site(
        settings,
        influx,
        series,
        operations=[
            *owner_operations(proofs),
            *reporting,
            *(record_operations() if settings.telemetrics else ()),
        ],
        privacy=[intake.privacy(settings) for intake in on],
    )


def listener_of(settings: Settings, metrics: Metrics, name: str) -> Listener:
    """Build a listener with the connection limits of the settings; `name` labels its metrics."""
    limits = Limits(
        connections=settings.max_connections,
        per_address=settings.max_connections_per_address,
        head_bytes=settings.max_head,
        seconds=settings.read_timeout,
        trusted=tuple(settings.trusted_proxies),
    )
    return Listener(limits, metrics, name=name)


def public_site(
    settings: Settings,
    intakes: Sequence[OpenIntake],
    my_data: MyData,
    site: Site,
    records: Sequence[web.RouteDef] = (),
) -> web.Application:
    """Build the application of the public address: intakes, owners' pages and the public site.

    `records` are the routes of the records API.
    """
    public = web.Application(client_max_size=settings.max_body + 1)
    groups = (*(each.routes() for each in intakes), my_data.routes(), records, site.routes())
    routes = [route for group in groups for route in group]
    public.add_routes(mounted(routes, settings.public_url))
    public.on_response_prepare.append(site.headers)
    fast = {path: one for each in intakes for path, one in each.fast_handlers().items()}
    public[FAST_PATH] = FastPath(fast, max_body=settings.max_body)
    return public


@asynccontextmanager
async def running(
    whole: Settings, worker: Worker = ONLY_WORKER, *, intakes: Sequence[Intake] = INTAKES
) -> AsyncIterator[Running]:
    """Run a collector from entry to exit; draining the outbox at exit takes up to 10 s.

    `whole` are the settings of all workers together, `worker` says which of them this is.
    Of `intakes`, those are served that the settings switch on. Raises StateError,
    OutboxUnavailable, MemoryUnavailable, OSError (an address that cannot be listened on).
    """
    settings = worker.settings(whole)
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(locked(settings.state_dir))
        pseudonyms = Pseudonymiser(pseudonym_key(settings.key_file, settings.state_dir))
        metrics = Metrics()
        memory = _memory(directory, whole, worker, metrics)
        begun, waits = read_at_start(
            directory / FILE,
            metrics,
            lambda file: (clock.record_start(file, metrics), _waits(file)),
        )
        outbox = Outbox(
            directory / FILE,
            max_bytes=settings.outbox_max,
            keep_seconds=settings.outbox_keep,
            metrics=metrics,
        )
        stack.push_async_callback(outbox.close)
        machine_clock = clock.Clock(outbox, metrics, begun, instance=settings.instance)
        influx = await stack.enter_async_context(influx_of(settings, retry_ping=False))
        supervisor = Supervisor(metrics)
        await stack.enter_async_context(supervisor.thread("outbox", lambda: outbox.alive))
        databases = partial(prepare, influx, retention(settings, intakes))
        in_hand = DeliveryLock(whole.state_dir)
        records = stack.enter_context(closing(Records(whole)))
        targets = Targets(influx, databases, records.target)
        deliveries = Deliveries(
            outbox,
            targets.of(metrics, records=settings.telemetrics or waits.records),
            metrics,
            in_hand,
            holds=machine_clock.holds,
            sent=begun.sent,
        )
        await stack.enter_async_context(
            supervisor.loop("clock", partial(machine_clock.run, in_hand, deliveries.sent))
        )
        await stack.enter_async_context(_delivering(deliveries, supervisor))

        series = PublicSeries(influx)
        daily = daily_of(settings, influx)
        rolling = SharedLock(whole.state_dir / ROLLUP_LOCK)
        signals = Signals(whole.state_dir, worker)
        schedule = Schedule(
            daily,
            reconciler_of(settings, influx),
            metrics,
            changed=signals.rolled(series.forget),
            others=other_days_of(settings, influx),
            lock=rolling,
        )
        owners = OwnerServices(
            settings,
            Parts(
                influx,
                memory,
                outboxes_of(whole),
                daily,
                pseudonyms,
                metrics,
                Locks(in_hand, rolling),
                records,
            ),
            choices=memory.choices.all(),
            layouts=layouts(intakes),
            changed=signals.erased(schedule.wake),
            first=worker.first,
        )
        await owners.open()
        await stack.enter_async_context(supervisor.loop("my-data", owners.run))
        await stack.enter_async_context(supervisor.loop("signals", signals.run))
        if worker.first:
            await stack.enter_async_context(supervisor.loop("rollup", schedule.run))
            expiry = Expiry(
                whole.state_dir,
                metrics,
                retention_s=settings.retention_raw,
                keep_s=settings.outbox_keep,
                retentions=retention(settings, intakes),
            )
            for name, work in (("expiry", expiry.run), *records.chores(metrics)):
                await stack.enter_async_context(supervisor.loop(name, work, vital=False))
            former = Abandoned(settings, targets, in_hand)
            for left in abandoned(whole.state_dir, worker.of):
                finish = partial(former.finish, left)
                await stack.enter_async_context(supervisor.loop("abandoned", finish, vital=False))

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
            servers=waits.servers,
            metrics=metrics,
            loop=lambda name, work: supervisor.loop(name, work, vital=False),
            true_state=TrueState(),
            on_reload=reloads.append,
            statsd=worker.statsd,
            erase=owners.erase,
        )
        opened = [
            await stack.enter_async_context(intake.open(context))
            for intake in intakes
            if intake.is_on(settings)
        ]
        my_data = MyData(
            owners,
            partial(prove, [intake.identify for intake in opened]),
            terms=Terms(
                settings.retention_raw,
                settings.outbox_keep,
                settings.backup_keep,
                retention(settings, intakes),
            ),
            door=Door(
                trusted_proxies=settings.trusted_proxies, read_timeout_s=settings.read_timeout
            ),
            secret=secrets.token_bytes(32),
        )
        health = OwnHealth(outbox, supervisor)
        site = site_of(settings, influx, series, intakes)
        at = Running(
            public=await stack.enter_async_context(
                listening(
                    public_site(settings, opened, my_data, site, records.routes(pseudonyms)),
                    settings.listen,
                    listener_of(settings, metrics, "public"),
                    bound=worker.listening,
                )
            ),
            metrics=None
            if worker.of > 1
            else await stack.enter_async_context(
                listening(
                    private_site(metrics_page(metrics), health),
                    settings.metrics_listen,
                    listener_of(settings, metrics, "metrics"),
                )
            ),
            health=health,
            refresh=metrics.refresh,
            reload=reload,
            supervisor=supervisor,
        )
        log.info("serving", public=str(at.public), metrics=str(at.metrics), worker=worker.number)
        # A failed loop must not trip the watchdog: the supervisor restarts it.
        async with Notifier().serving(lambda: supervisor.broken is None):
            yield at
        log.info("stopping", worker=worker.number)


@asynccontextmanager
async def _delivering(deliveries: Deliveries, supervisor: Supervisor) -> AsyncIterator[None]:
    """Run the loops of delivery from entry to exit."""
    async with AsyncExitStack() as stack:
        for one in deliveries:
            loop = supervisor.loop(one.name, one.run, stop=deliveries.stop)
            await stack.enter_async_context(loop)
        yield


class _Waits(NamedTuple):
    """Servers with reports in the outbox, and whether entries wait for the records store."""

    servers: Iterable[str]
    records: bool


def _waits(file: OutboxFile) -> _Waits:
    return _Waits(file.servers(), file.stats().waiting[Queue.RECORDS].reports > 0)


def _memory(directory: Path, whole: Settings, worker: Worker, metrics: Metrics) -> Memory:
    """Open the memory, after the outbox is checked and records of earlier versions are moved."""
    memory = Memory(whole.state_dir)
    check_at_start(directory / FILE, metrics)
    migrate_outbox(directory / FILE, memory)
    if worker.first:
        # Opt-outs in the outboxes of workers that do not run (yet) must hold from the first report.
        migrate_outboxes(whole.state_dir, memory, skip=directory)
    return memory


def spare_collections() -> None:
    """Reduce the work of Python's garbage collector in a process that serves.

    Objects that exist once it serves live as long as the process, so they are never examined. The
    objects of a report live until its reply: at Python's threshold of 700 objects, a collection
    would find nearly all of them in use.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def serve(settings: Settings) -> None:
    """Run a collector until SIGTERM or SIGINT.

    Raises CannotWork, the errors of `running`, and OSError for a socket unit with other addresses
    than the settings.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # Until it serves, SIGHUP must not end it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    statsd = placed(settings.statsd_listen, passed_sockets())
    async with running(settings, replace(ONLY_WORKER, statsd=tuple(statsd))) as at:
        loop.add_signal_handler(signal.SIGHUP, at.reload)
        spare_collections()
        await at.supervisor.wait(stop)
