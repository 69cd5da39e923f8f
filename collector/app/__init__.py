"""Composition root: builds the objects of a process, connects them, opens and closes them."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import structlog
from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from collector.app.part import Base, OpenPart
from collector.app.roles import SERVE, Role
from collector.app.turns import turns
from collector.connections import Listener
from collector.fast_path import FAST_PATH, FastPath
from collector.guard import Limits
from collector.health import Handler, Health, private_site
from collector.influx import Influx
from collector.intakes import INTAKES, Intake
from collector.intakes.statsd.sockets import placed
from collector.jetstream.extra import check_installed
from collector.listen import listening
from collector.metrics import Metrics
from collector.parts import daily_of, influx_of
from collector.public.links import mounted
from collector.public.series import PublicSeries
from collector.public.site import Site
from collector.setting_types import Address
from collector.settings import Settings
from collector.signals import Signals
from collector.supervisor import Supervisor, stop_event
from collector.systemd import Notifier, passed_sockets
from collector.worker import ONLY_WORKER, Worker

log = structlog.get_logger("collector.app")

GARBAGE_THRESHOLD: Final = (20_000, 20, 50)
"""Thresholds of Python's garbage collector, its three generations, in a process that serves.

The objects of a report live until its reply: at Python's threshold of 700, collections would find
nearly all in use.
"""
_SWITCH_S: Final = 0.0002
"""Python's thread switch interval in s: the outbox's thread waits for it after each commit.

With the default of 5 ms, each sender would wait several times as long as the disk needs.
"""


@dataclass(frozen=True, slots=True)
class Running:
    """A running process: its addresses, its health and its parts.

    `metrics` is None in a worker, whose metrics its parent serves. `refresh` updates the gauges
    that follow a function (see `Metrics.follow`).
    """

    public: Address
    metrics: Address | None
    health: Health
    refresh: Callable[[], None]
    parts: Sequence[OpenPart]
    supervisor: Supervisor

    def reload(self) -> None:
        """Read the operator's files again, such as the mapping of StatsD."""
        for part in self.parts:
            part.reload()


def metrics_page(metrics: Metrics) -> Handler:
    """A handler that returns the metrics of this process."""
    page = make_aiohttp_handler(metrics.registry)

    async def handler(request: web.Request) -> web.StreamResponse:
        metrics.refresh()
        return await page(request)

    return handler


@dataclass(frozen=True, slots=True)
class OwnHealth:
    """The health of this process."""

    parts: Sequence[OpenPart]
    supervisor: Supervisor

    def gone(self) -> list[str]:
        """Names of the loops that wait for a restart, and of threads that have ended."""
        return [*self.supervisor.failing, *(name for part in self.parts for name in part.gone())]

    def unavailable(self) -> str | None:
        """The reason why a part refuses its senders, or None."""
        return next((why for part in self.parts if (why := part.unavailable())), None)


def check_files(settings: Settings) -> None:
    """Check the files and the extra that settings need. Raises SettingsError if one is wrong."""
    if settings.asterisk_file:
        from collector.asterisks import asterisks

        asterisks(settings)
    if settings.statsd_mapping:
        from collector.intakes.statsd.intake import mapping_of

        mapping_of(settings)
    check_installed(settings)


def site_of(
    settings: Settings,
    influx: Influx,
    series: PublicSeries | None,
    intakes: Sequence[Intake] = INTAKES,
    *,
    role: Role = SERVE,
) -> Site:
    """Build the public site, which describes the routes of the role's parts."""
    return Site(
        settings,
        influx,
        series,
        operations=role.operations(settings, intakes),
        privacy=[intake.privacy(settings) for intake in intakes if intake.is_on(settings)],
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


def serving_privately(
    settings: Settings, metrics: Metrics, page: Handler, health: Health
) -> AbstractAsyncContextManager[Address]:
    """Serve the private address; `page` is its /metrics, `metrics` counts its connections."""
    return listening(
        private_site(page, health),
        settings.metrics_listen,
        listener_of(settings, metrics, "metrics"),
        drain_s=0,
    )


def public_site(
    settings: Settings,
    parts: Sequence[OpenPart],
    site: Site,
    elsewhere: Iterable[web.RouteDef] = (),
) -> web.Application:
    """Build the application of the public address: the routes of the parts and the public site.

    `elsewhere` are routes that refuse what other roles serve.
    """
    public = web.Application(client_max_size=settings.max_body + 1)
    routes = [*(route for part in parts for route in part.routes), *site.routes(), *elsewhere]
    public.add_routes(mounted(routes, settings.public_url))
    public.on_response_prepare.append(site.headers)
    fast = {path: one for part in parts for path, one in part.fast.items()}
    public[FAST_PATH] = FastPath(fast, max_body=settings.max_body)
    return public


@asynccontextmanager
async def running(
    whole: Settings,
    worker: Worker = ONLY_WORKER,
    *,
    role: Role = SERVE,
    intakes: Sequence[Intake] = INTAKES,
) -> AsyncIterator[Running]:
    """Run the parts of a role from entry to exit; draining the outbox at exit takes up to 10 s.

    `whole` are the settings of all workers together, `worker` says which of them this is.
    Of `intakes`, those are served that the settings switch on. Raises StateError,
    OutboxUnavailable, MemoryUnavailable, OSError (an address that cannot be listened on).
    """
    settings = worker.settings(whole)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        metrics = Metrics()
        metrics.role.labels(role.name).set(1)
        supervisor = Supervisor(metrics)
        influx = await enter(influx_of(settings, retry_ping=False))
        whose = await enter(turns(whole, role.name, metrics))
        published = await enter(influx_of(settings, retry_ping=False, guard=whose.check))
        signals = Signals(whole.state_dir, alone=role is SERVE and worker.of == 1)
        base = Base(
            settings,
            whole,
            worker,
            intakes,
            metrics,
            supervisor,
            influx,
            published,
            daily_of(settings, published),
            whose,
            signals,
            role.name,
        )
        parts = [await enter(part.open(base)) for part in role.parts]
        await enter(supervisor.loop("signals", signals.run))
        series = next((part.series for part in parts if part.series is not None), None)
        site = site_of(settings, influx, series, intakes, role=role)
        health = OwnHealth(parts, supervisor)
        elsewhere = role.elsewhere(settings, metrics)
        public = await enter(
            listening(
                public_site(settings, parts, site, elsewhere),
                settings.listen,
                listener_of(settings, metrics, "public"),
                bound=worker.listening,
            )
        )
        own = None
        if worker.of == 1:
            own = await enter(serving_privately(settings, metrics, metrics_page(metrics), health))
        at = Running(public, own, health, metrics.refresh, parts, supervisor)
        log.info(
            "serving",
            role=role.name,
            public=str(at.public),
            metrics=str(at.metrics),
            worker=worker.number,
        )
        # A failed loop must not trip the watchdog: the supervisor restarts it.
        async with Notifier().serving(lambda: supervisor.broken is None):
            yield at
        log.info("stopping", role=role.name, worker=worker.number)


def tune_interpreter() -> None:
    """Set Python's garbage collector and its switching of threads for a process that serves.

    Objects that exist once it serves live as long as the process, and are excluded from garbage
    collections. A collection before would stop it for 45 ms and find next to nothing.
    """
    sys.setswitchinterval(_SWITCH_S)
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLD)


async def serve(settings: Settings, role: Role = SERVE) -> None:
    """Run a role in this process until SIGTERM or SIGINT.

    Raises CannotWork, the errors of `running`, and OSError for a socket unit with other addresses
    than the settings.
    """
    stop = stop_event()
    # Until it serves, SIGHUP must not end it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    statsd = placed(settings.statsd_listen, passed_sockets())
    worker = replace(ONLY_WORKER, statsd=tuple(statsd))
    async with running(settings, worker, role=role) as at:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, at.reload)
        tune_interpreter()
        await at.supervisor.wait(stop)
