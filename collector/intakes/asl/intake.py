"""The intake of `asl-telemetry`, AllStarLink 3's client: one report a server a day, never retried.

The client's source: https://github.com/AllStarLink (package asl3, script asl-telemetry).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import structlog
from aiohttp import web

from collector.admission import RateLimit
from collector.intakes.asl.points import Accepted, OptedOut, Outcome, Read, Understanding
from collector.intakes.door import Door
from collector.intakes.gather import Gather
from collector.intakes.proof import Proof
from collector.logs import Sparing
from collector.metrics import Metrics
from collector.outbox import Entry, Outbox
from collector.privacy import ServerPseudonym
from collector.problems import Refusal
from collector.receipts import Receipt

log = structlog.get_logger("collector.intakes.asl")

NAME: Final = "asl"

Taken = Accepted | OptedOut


class _Handling:
    """The steps of a report of `asl-telemetry` from its body to its outcome."""

    def __init__(
        self,
        understanding: Understanding,
        opted_out: Callable[[ServerPseudonym], bool],
        metrics: Metrics,
    ) -> None:
        self.parse = understanding.read
        self._understanding = understanding
        self._is_opted_out = opted_out
        self._accepted = metrics.reports.labels(NAME, "accepted")
        self._nodes = metrics.nodes.labels("stored")

    def decide(self, parsed: Read, now_ns: int) -> Outcome:
        """What becomes of a report, received at `now_ns` (UTC, ns since 1970)."""
        return self._understanding.admit(parsed, self._is_opted_out, now_ns)

    def entries(self, outcome: Taken) -> tuple[Entry, ...]:
        """The entry of a report that is accepted."""
        return (outcome.entry,) if isinstance(outcome, Accepted) else ()

    def stored(self, outcomes: Sequence[Taken]) -> None:
        """Count reports that are durable, and their nodes."""
        self._accepted.inc(len(outcomes))
        nodes = [outcome.nodes for outcome in outcomes if isinstance(outcome, Accepted)]
        self._nodes.inc(sum(nodes))


class AslIntake:
    """Receives reports of `asl-telemetry`; `opted_out` tells whose are dropped."""

    def __init__(
        self,
        understanding: Understanding,
        *,
        opted_out: Callable[[ServerPseudonym], bool],
        outbox: Outbox,
        door: Door,
        rate_limit: RateLimit,
        metrics: Metrics,
    ) -> None:
        self._rate_limit = rate_limit
        self._understanding = understanding
        self._door = door
        self._metrics = metrics
        self._sparing = Sparing()
        self._gather: Gather[Read, Taken] = Gather(
            outbox, _Handling(understanding, opted_out, metrics)
        )
        self._opted_out = metrics.reports.labels(NAME, "opted-out")

    def routes(self) -> list[web.RouteDef]:
        """`/usage`, and `/usage/usage` where a proxy leaves its prefix on."""
        return [web.post("/usage", self.receive), web.post("/usage/usage", self.receive)]

    def identify(self, body: bytes) -> Proof | Refusal:
        """Whose data a body is, read as a report is; nothing of it is stored."""
        return self._understanding.identify(body)

    async def receive(self, request: web.Request) -> web.Response:
        """Answer one submission; 200 only when it is durable."""
        begun = time.perf_counter()
        outcome = await self._take(request)
        self._metrics.request_seconds.observe(time.perf_counter() - begun)
        if isinstance(outcome, Refusal):
            self._metrics.reports.labels(NAME, outcome.reason.value).inc()
            self._sparing.info(
                log, "refused", intake=NAME, reason=outcome.reason.value, detail=outcome.detail
            )
            return outcome.response()
        if isinstance(outcome, OptedOut):
            self._opted_out.inc()
            reply = _accepted(0, tuple(outcome.ignored.items()))
        else:
            reply = _accepted(outcome.nodes, tuple(outcome.ignored.items()))
        return Receipt(reply)

    async def _take(self, request: web.Request) -> Outcome:
        body = await self._door.body(request, self._rate_limit)
        if isinstance(body, Refusal):
            return body
        return await self._gather.outcome(body)


@lru_cache(maxsize=256)
def _accepted(nodes: int, ignored: tuple[tuple[str, int], ...]) -> bytes:
    """The body of the answer to an accepted report."""
    reply = {"status": "accepted", "nodes": nodes, "ignored": dict(ignored)}
    return json.dumps(reply, separators=(",", ":")).encode() + b"\n"
