"""Protocols of an intake: the interface between the collector and a sender's package.

The app serves an intake's routes and sockets, the site describes its operations, `retention` and
`provision` create its databases, the owners' routes identify the owner of a body, and a damaged
outbox is searched for its measurements. All of them use these protocols and the list in `intakes`.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aiohttp import web
from pydantic import BaseModel

from collector.fast_path import FastHandler
from collector.intakes.door import Door
from collector.intakes.live import TrueState
from collector.intakes.proof import Proof
from collector.lines import Stamper
from collector.memory import Memory
from collector.metrics import Metrics
from collector.operations import Operation
from collector.outbox import Outbox
from collector.privacy import Pseudonymiser, ServerPseudonym
from collector.privacy_section import PrivacySection
from collector.problems import Refusal
from collector.schema import Measurement, ReportLayout
from collector.settings import Settings
from collector.supervisor import Work


@dataclass(frozen=True, slots=True)
class IntakeContext:
    """Parts of a running collector that an intake may use.

    `shared_dir` is the state directory of all workers; `is_first` is set in the one process that
    does the tasks common to all of them. `opted_out` returns whether a server's reports are
    dropped. `clock` returns UTC in ns since 1970. `memory` is shared by all workers; its calls
    block. `servers` are those with reports in the outbox. `loop` runs a loop under a name for the
    log while its context is open, and restarts it after a failure. `true_state` passes true values
    of gauges from AMI to StatsD. `erase` erases all reports of a server, everywhere, and returns
    `erased`, or `delayed` or `queued` if it is remembered for later; it raises StoreUnavailable if
    it cannot even be remembered. `on_reload` registers a function that reads the operator's files
    again; it must not raise. `statsd` are sockets for StatsD that the parent has bound (see
    `Worker`); none in a process that binds its own.
    """

    settings: Settings
    shared_dir: Path
    is_first: bool
    outbox: Outbox
    door: Door
    pseudonyms: Pseudonymiser
    stamper: Stamper
    clock: Callable[[], int]
    opted_out: Callable[[ServerPseudonym], bool]
    memory: Memory
    servers: Iterable[str]
    metrics: Metrics
    loop: Callable[[str, Work], AbstractAsyncContextManager[None]]
    true_state: TrueState
    on_reload: Callable[[Callable[[], None]], None]
    statsd: Sequence[tuple[int, socket.socket]]
    erase: Callable[[ServerPseudonym], Awaitable[str]]


class OpenIntake(Protocol):
    """A running intake."""

    def routes(self) -> Sequence[web.RouteDef]:
        """Routes on the public address; none for a sender that does not use HTTP."""
        ...

    def fast_handlers(self) -> Mapping[str, FastHandler]:
        """Handlers on the fast path, by the path of a POST; none if aiohttp handles all requests.

        The same paths are in `routes`, for requests that are not plain.
        """
        ...

    def identify(self, body: bytes) -> Proof | Refusal:
        """The proof of ownership in a body, parsed like a report; nothing of it is stored."""
        ...


class Intake(Protocol):
    """One kind of sender. Instances have no state; `open` returns a running intake."""

    @property
    def name(self) -> str:
        """The sender's name in metrics, logs and the outbox."""
        ...

    @property
    def measurements(self) -> Sequence[Measurement]:
        """Measurements of the sender's points, each with its database."""
        ...

    @property
    def reports(self) -> Sequence[ReportLayout]:
        """Layouts of the reports that have an owner, used to find and erase them."""
        ...

    @property
    def proofs(self) -> Sequence[type[BaseModel]]:
        """Models of the bodies that prove ownership."""
        ...

    def is_on(self, settings: Settings) -> bool:
        """Whether the settings enable this intake."""
        ...

    def retention(self, settings: Settings) -> Mapping[str, int]:
        """Retention of each database that only this sender uses, in seconds; 0: for ever."""
        ...

    def operations(self) -> Iterable[Operation]:
        """OpenAPI descriptions of the routes."""
        ...

    def privacy(self, settings: Settings) -> PrivacySection:
        """Section of the privacy page about this sender's data."""
        ...

    def open(self, context: IntakeContext) -> AbstractAsyncContextManager[OpenIntake]:
        """Start loops, sockets and connections, which end with the context."""
        ...
