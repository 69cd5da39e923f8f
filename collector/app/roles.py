"""Roles of a process: `serve` has all parts, every other role has some of them.

A role answers requests for the routes of the parts that it lacks with a refusal that says where
they are served, so that a sender or a balancer with a wrong address is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from aiohttp import web

from collector.app.following import FOLLOWING
from collector.app.part import Part
from collector.app.publishing import PUBLISHING
from collector.app.receiving import RECEIVING
from collector.intakes import INTAKES, Intake
from collector.logs import Sparing
from collector.metrics import Metrics
from collector.operations import Operation
from collector.orders import PUBLISHER
from collector.problems import Refusal
from collector.public.responses import Handler
from collector.settings import Settings

log = structlog.get_logger("collector.app")

_PARTS: Final = (PUBLISHING, RECEIVING, FOLLOWING)
_SENDERS: Final = ("asl", "librenms", "telemetrics")
"""Settings that switch on the senders that use HTTP."""


@dataclass(frozen=True, slots=True)
class Role:
    """A role: its name, which is that of its command, and its parts in the order of their start."""

    name: str
    parts: tuple[Part, ...]

    def operations(self, settings: Settings, intakes: Sequence[Intake]) -> list[Operation]:
        """Describe the routes of the role's parts."""
        return [
            operation
            for part in _PARTS
            if part in self.parts
            for operation in part.operations(settings, intakes)
        ]

    def elsewhere(self, settings: Settings, metrics: Metrics) -> Iterator[web.RouteDef]:
        """Yield routes that refuse what only the other parts serve, of all senders."""
        sparing = Sparing()
        everything = settings.model_copy(update=dict.fromkeys(_SENDERS, True))
        for part in _PARTS:
            if part in self.parts or part.elsewhere is None:
                continue
            refuse = _refusing(part.elsewhere(settings), metrics, sparing)
            for operation in part.operations(everything, INTAKES):
                yield web.route(operation.method, operation.path, refuse)


SERVE: Final = Role("serve", (RECEIVING, PUBLISHING))
RECEIVE: Final = Role("receive", (RECEIVING,))
PUBLISH: Final = Role(PUBLISHER, (FOLLOWING, PUBLISHING))
ROLES: Final = {role.name: role for role in (SERVE, RECEIVE, PUBLISH)}


def _refusing(refusal: Refusal, metrics: Metrics, sparing: Sparing) -> Handler:
    async def refuse(_request: web.Request) -> web.Response:
        metrics.http_refusals.labels(refusal.reason).inc()
        sparing.info(log, "a request for another role", reason=refusal.reason.value)
        return refusal.response()

    return refuse
