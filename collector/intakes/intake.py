"""The contract of an intake: everything that the collector asks of a sender's package.

The app serves its routes and sockets, the site describes its operations, `retention` and
`provision` make its databases, the owners' pages find whose data a body is, and a damaged outbox is
searched for its measurements: all of it through this contract and the list in `intakes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from aiohttp import web
from pydantic import BaseModel

from collector.fast_path import FastHandler
from collector.intakes.door import Door
from collector.intakes.proof import Proof
from collector.lines import Stamper
from collector.memory import Memory
from collector.metrics import Metrics
from collector.operations import Operation
from collector.outbox import Outbox
from collector.privacy import Pseudonymiser, ServerPseudonym
from collector.problems import Refusal
from collector.schema import Measurement, ReportLayout
from collector.settings import Settings
from collector.supervisor import Work


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The parts of a running collector that an intake may use.

    `shared_dir` is the state directory of all workers; `is_first` is set in the one process that
    does what must be done once for all of them. `opted_out` tells whose reports are dropped.
    `clock` tells UTC in ns since 1970. `memory` is shared by all workers; its calls block.
    `servers` are those that the outbox holds reports of. `loop` runs a loop for as long as its
    context is open, under a name for the log, and starts it again where it fails.
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


class OpenIntake(Protocol):
    """An intake that takes reports."""

    def routes(self) -> Sequence[web.RouteDef]:
        """Its routes on the public address; none for a sender that does not speak HTTP."""
        ...

    def fast_handlers(self) -> Mapping[str, FastHandler]:
        """Its handlers on the fast path, by the path of a POST; none where all go through aiohttp.

        The same paths are in `routes`: a request that is not plain goes there.
        """
        ...

    def identify(self, body: bytes) -> Proof | Refusal:
        """Whose data a body is, read as a report is; nothing of it is stored."""
        ...


class Intake(Protocol):
    """One kind of sender. An instance holds no state: `open` gives what does."""

    @property
    def name(self) -> str:
        """The sender's name in metrics, logs and the outbox."""
        ...

    @property
    def measurements(self) -> Sequence[Measurement]:
        """The measurements of its points; their databases are its own."""
        ...

    @property
    def reports(self) -> Sequence[ReportLayout]:
        """The reports that have an owner, by which the owner's are found and erased."""
        ...

    @property
    def proofs(self) -> Sequence[type[BaseModel]]:
        """Models of the bodies by which an owner proves whose data is asked for."""
        ...

    def is_on(self, settings: Settings) -> bool:
        """Whether the settings switch it on."""
        ...

    def retention(self, settings: Settings) -> Mapping[str, int]:
        """Retention of each database that this sender alone uses, in seconds; 0: for ever."""
        ...

    def operations(self) -> Iterable[Operation]:
        """Its routes, described for OpenAPI."""
        ...

    def open(self, surroundings: Surroundings) -> AbstractAsyncContextManager[OpenIntake]:
        """Start its loops, sockets and connections; they end with the context."""
        ...
