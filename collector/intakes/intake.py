"""Base classes of an intake: the interface between the collector and a sender's package.

The app serves an intake's routes and sockets, the site describes its operations, `retention` and
`provision` create its databases, the owners' routes identify the owner of a body, and a damaged
outbox is searched for its measurements. All of them use these classes and the list in `intakes`.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Protocol

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
from collector.privacy_section import PrivacySection, privacy_section
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
        return []

    def fast_handlers(self) -> Mapping[str, FastHandler]:
        """Handlers on the fast path, by the path of a POST; none if aiohttp handles all requests.

        The same paths are in `routes`, for requests that are not plain.
        """
        return {}

    def identify(self, body: bytes) -> Proof | Refusal | None:
        """The proof of ownership in a body, parsed like a report; nothing of it is stored.

        None for senders that have no owners.
        """
        return None


class Intake(ABC):
    """One kind of sender. Instances have no state; `open` returns a running intake.

    A subclass is defined in the `__init__` of its package, where the privacy section's texts are.
    Its methods import the rest of the package, which a collector without this sender never loads.
    """

    name: ClassVar[str]
    """The sender's name in metrics, logs and the outbox."""
    measurements: ClassVar[Sequence[Measurement]]
    """Measurements of the sender's points, each with its database."""
    reports: ClassVar[Sequence[ReportLayout]] = ()
    """Layouts of the reports that have an owner, used to find and erase them."""
    switch: ClassVar[str]
    """Name of the setting that enables the intake unless it is empty or false."""
    retentions: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Name of the setting with the retention in seconds, for each database of this sender."""
    privacy_values: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Name of the setting for each placeholder of the privacy section."""

    def is_on(self, settings: Settings) -> bool:
        """Whether the setting `switch` enables this intake."""
        return bool(getattr(settings, self.switch))

    def retention(self, settings: Settings) -> Mapping[str, int]:
        """Retention of each database that only this sender uses, in seconds; 0: for ever."""
        return {
            database: getattr(settings, setting) for database, setting in self.retentions.items()
        }

    def proofs(self) -> Sequence[type[BaseModel]]:
        """Models of the bodies that prove ownership."""
        return ()

    def operations(self) -> Iterable[Operation]:
        """OpenAPI descriptions of the routes; none for senders that do not use HTTP."""
        return ()

    def privacy(self, settings: Settings) -> PrivacySection:
        """Section of the privacy page, with the values of the settings that it names."""
        values = {name: getattr(settings, one) for name, one in self.privacy_values.items()}
        return privacy_section(type(self).__module__, values)

    @abstractmethod
    def open(self, context: IntakeContext) -> AbstractAsyncContextManager[OpenIntake]:
        """Start loops, sockets and connections, which end with the context."""
