"""Types of the composition root: what all parts of a process share, and what each part adds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from aiohttp import web

from collector.app.turns import Turns
from collector.fast_path import FastHandler
from collector.influx import Influx
from collector.intakes import Intake
from collector.metrics import Metrics
from collector.operations import Operation
from collector.problems import Refusal
from collector.public.series import PublicSeries
from collector.rollup.daily import Daily
from collector.settings import Settings
from collector.signals import Signals
from collector.supervisor import Supervisor
from collector.worker import Worker


@dataclass(frozen=True, slots=True)
class Base:
    """Objects that the parts of a process share.

    `whole` are the settings of all workers together, `settings` those of this one. `published` is a
    client for the published series, which refuses to write when it is not this process's turn.
    """

    settings: Settings
    whole: Settings
    worker: Worker
    intakes: Sequence[Intake]
    metrics: Metrics
    supervisor: Supervisor
    influx: Influx
    published: Influx
    daily: Daily
    turns: Turns
    signals: Signals
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPart:
    """Routes, health and files to read again that a running part adds to its process.

    `routes` and `fast` (handlers of the fast path, by path) are served on the public address.
    `gone` returns the names of threads that have ended, `unavailable` the reason why senders get
    503 now, or None. `reload` reads the operator's files again. `series` are the published series,
    which the pages show.
    """

    routes: Sequence[web.RouteDef] = ()
    fast: Mapping[str, FastHandler] = field(default_factory=dict)
    gone: Callable[[], list[str]] = list
    unavailable: Callable[[], str | None] = lambda: None
    reload: Callable[[], None] = lambda: None
    series: PublicSeries | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the collector that a role has or lacks.

    `operations` describes its routes under given settings and intakes. `elsewhere` returns the
    refusal of a request for one of them, in a role that lacks the part; None: it has no routes.
    """

    name: str
    open: Callable[[Base], AbstractAsyncContextManager[OpenPart]]
    operations: Callable[[Settings, Sequence[Intake]], Iterable[Operation]] = lambda *_: ()
    elsewhere: Callable[[Settings], Refusal] | None = None
