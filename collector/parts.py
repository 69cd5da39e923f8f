"""Factories of objects that both `serve` and the commands build from the settings.

Intakes and rollup are imported inside them, so that a command without them starts quickly.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from socket import gethostname
from typing import TYPE_CHECKING, Any, NamedTuple

from collector.influx import RAW_VARIABLES, Guard, Influx, allowed
from collector.schema import DAILY, OWNERS, RAW
from collector.settings import Settings
from collector.state import PARTICIPANT, ROLLUP_LOCK, RollingLock, SharedLock, participant

if TYPE_CHECKING:
    from pathlib import Path

    from collector.delivery.records import RecordsTarget
    from collector.delivery.target import TargetsOf
    from collector.intakes import Intake
    from collector.jetstream.duties import Duties
    from collector.jetstream.hops import Hops
    from collector.lazy import pl
    from collector.metrics import Metrics
    from collector.outbox import Outbox, Outboxes
    from collector.rollup.daily import Daily
    from collector.rollup.librenms import LibreNMSDays
    from collector.rollup.reconcile import Reconciler
    from collector.rollup.schedule import DaySeries


def retention(settings: Settings, intakes: Sequence[Intake] | None = None) -> dict[str, int]:
    """Retention of each database, in seconds (0: for ever); `intakes` are all if not given."""
    from collector.intakes import INTAKES

    found = {RAW: settings.retention_raw, DAILY: settings.retention_daily, OWNERS: 0}
    for intake in INTAKES if intakes is None else intakes:
        if intake.is_on(settings):
            found.update(intake.retention(settings))
    return found


def of_senders(settings: Settings) -> list[str]:
    """The databases that belong to senders alone, those of disabled senders included."""
    from collector.intakes import INTAKES

    return sorted({name for intake in INTAKES for name in intake.retention(settings)})


class Server(NamedTuple):
    """An InfluxDB as the settings name it."""

    url: str
    token: str
    org: str
    ca_file: str


def made_by(influx: Influx, kept: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """The databases that delivery makes, and those that the rollup makes, with their retention.

    Delivery makes all of them if they are on one server. If they are on two, each makes those that
    it writes to, and so works while the other's server is away.
    """
    delivered: dict[str, int] = {}
    rolled: dict[str, int] = {}
    for name, seconds in kept.items():
        is_apart = influx.of(name) is not influx.of(RAW)
        (rolled if is_apart else delivered)[name] = seconds
    return delivered, rolled


def influx_servers(settings: Settings) -> tuple[Server, Server]:
    """The InfluxDB of the published series and that of raw data; equal if there is only one."""
    published = Server(
        settings.influx_url,
        settings.influx_token.get_secret_value(),
        settings.influx_org,
        settings.influx_ca_file,
    )
    raw = Server(
        settings.influx_raw_url,
        settings.influx_raw_token.get_secret_value(),
        settings.influx_raw_org,
        settings.influx_raw_ca_file,
    )
    return published, Server(*(own or same for own, same in zip(raw, published, strict=True)))


def influx_of(settings: Settings, *, retry_ping: bool = True, guard: Guard = allowed) -> Influx:
    """A client of InfluxDB, or of two if raw data has a server of its own.

    `retry_ping` is for commands, as loops try again by themselves. `guard` is called before each
    write and deletion, and may raise an error instead.
    """
    make = partial(Influx, prefix=settings.influx_prefix, retry_ping=retry_ping)
    published, raw = (one._asdict() for one in influx_servers(settings))
    apart = None if raw == published else make(**raw, variables=RAW_VARIABLES)
    influx = make(**published, raw=apart)
    for server in influx.servers():
        server.guard = guard
    return influx


@asynccontextmanager
async def rollup_lock(
    whole: Settings, work: str, *, pause_s: float = 0.0
) -> AsyncIterator[RollingLock]:
    """Provide the lock of the rollup: a file and, if machines share one NATS, a lease for all.

    `work` says who uses it; a process waits `pause_s` between two uses of the lease.
    """
    file = SharedLock(whole.state_dir / ROLLUP_LOCK)
    if not whole.nats_url:
        yield file
        return
    from collector.jetstream.leases import rollup_lock as leased

    async with leased(whole, file, work, pause_s=pause_s) as lock:
        yield lock


@asynccontextmanager
async def targets_of(
    settings: Settings,
    influx: Influx,
    make_databases: Callable[[], Awaitable[object]],
    make_records: Callable[[Metrics], RecordsTarget],
) -> AsyncIterator[TargetsOf]:
    """The targets of outboxes: JetStream if COLLECTOR_NATS_URL is set, else `store_targets`."""
    from collector.delivery.influx import store_targets

    if not settings.nats_url:
        yield partial(store_targets, influx, make_databases, make_records)
        return
    from collector.delivery.jetstream import jetstream_targets
    from collector.jetstream.connection import Connection

    async with Connection(settings, name=f"collector {settings.instance}") as to:
        yield partial(jetstream_targets, to, settings)


@asynccontextmanager
async def hops_of(whole: Settings) -> AsyncIterator[Hops]:
    """Erasure outside of a state directory, which is in other processes and in JetStream."""
    from collector.jetstream.hops import Hops

    if not whole.nats_url:
        yield Hops()
        return
    from collector.jetstream.connection import Connection
    from collector.jetstream.erasing import JetStreamHops

    # A machine that only commands run on takes no part.
    own = participant(whole.state_dir) if (whole.state_dir / PARTICIPANT).exists() else ""
    async with Connection(whole, name=f"collector erasures {whole.instance}") as to:
        yield JetStreamHops(to, whole, own)


@asynccontextmanager
async def participation(
    whole: Settings, file: str, role: str, duties: Duties
) -> AsyncIterator[Callable[[], Coroutine[Any, Any, None]]]:
    """A loop that carries out the orders of other processes by `duties`; none without NATS.

    `file` holds the id of this participant of the state directory.
    """
    if not whole.nats_url:
        yield _rest
        return
    from collector.jetstream.board import Board
    from collector.jetstream.connection import Connection
    from collector.jetstream.participants import Participation
    from collector.orders import Participant

    async with Connection(whole, name=f"collector {role} orders {whole.instance}") as to:
        me = Participant(f"{role}-{participant(whole.state_dir, file)}", role, gethostname())
        yield Participation(Board(to, whole), me, duties).run


async def _rest() -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def outbox_of(settings: Settings, directory: Path, metrics: Metrics) -> AsyncIterator[Outbox]:
    """Open the outbox of a worker's state directory, and close it at exit."""
    from collector.outbox import FILE, Outbox

    outbox = Outbox(
        directory / FILE,
        max_bytes=settings.outbox_max,
        keep_seconds=settings.outbox_keep,
        metrics=metrics,
    )
    try:
        yield outbox
    finally:
        await outbox.close()


def outboxes_of(whole: Settings) -> Outboxes:
    """The outboxes of all workers of a state directory, former workers included."""
    from collector.outbox import Outboxes
    from collector.worker import directories

    return Outboxes(lambda: directories(whole.state_dir))


def daily_of(settings: Settings, influx: Influx) -> Daily:
    """The daily rollup."""
    from collector import cgroup
    from collector.memory import days_of_erasures
    from collector.rollup.cache import FactsCache
    from collector.rollup.daily import Daily
    from collector.rollup.ranges import plan

    memory = cgroup.rollup_memory(settings.rollup_memory, settings.workers, cgroup.memory_limit())
    return Daily(
        influx,
        k=settings.k_anonymity,
        retention_s=settings.retention_raw,
        cache=FactsCache(settings.state_dir, k=settings.k_anonymity),
        erasures=partial(days_of_erasures, settings.state_dir),
        listed=_listed(settings),
        planner=partial(plan, memory),
    )


def _listed(settings: Settings) -> Callable[[], pl.Series | None]:
    """The nodes on the node list that the intake uses, if it uses one."""
    if not settings.nodelist_url:
        return lambda: None
    from collector.rollup.listed import ListedNodes
    from collector.state import read_key

    return ListedNodes(settings.state_dir, partial(read_key, settings.key_file)).pseudonyms


def other_days_of(settings: Settings, influx: Influx) -> list[DaySeries]:
    """Series computed after the days of `asl-telemetry`: other senders' days, events, months."""
    from collector.rollup.events import Events
    from collector.rollup.months import Months

    others = [librenms_days_of(settings, influx)] if settings.librenms else []
    # The report of a month has its events.
    return [*others, Events(influx), Months(influx)]


def librenms_days_of(settings: Settings, influx: Influx) -> LibreNMSDays:
    """The daily series of LibreNMS's reports."""
    from collector.memory import days_of_erasures
    from collector.rollup.librenms import LibreNMSDays

    return LibreNMSDays(
        influx,
        k=settings.k_anonymity,
        retention_s=settings.retention_librenms,
        erasures=partial(days_of_erasures, settings.state_dir),
    )


def reconciler_of(settings: Settings, influx: Influx) -> Reconciler:
    """The reconciler, which finds the days that the rollup must compute."""
    from collector.memory import days_of_erasures
    from collector.rollup.cache import FactsCache
    from collector.rollup.reconcile import Reconciler

    return Reconciler(
        influx,
        retention_s=settings.retention_raw,
        cache=FactsCache(settings.state_dir, k=settings.k_anonymity),
        erasures=partial(days_of_erasures, settings.state_dir),
    )
