"""The intake of `asl-telemetry`, AllStarLink 3's client: one report a server a day, never retried.

The client's source: https://github.com/AllStarLink (package asl3, script asl-telemetry).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final, TypeVar

import structlog
from aiohttp import web

from collector.admission import RateLimit
from collector.intakes.door import Door
from collector.intakes.understanding import Accepted, OptedOut, Outcome, Read, Understanding
from collector.logs import Sparing
from collector.metrics import Metrics
from collector.outbox import Outbox, OutboxUnavailable
from collector.privacy import ServerPseudonym
from collector.problems import Reason, Refusal
from collector.receipts import Receipt

log = structlog.get_logger("collector.intakes.asl")

NAME: Final = "asl"
_RETRY_AFTER_S: Final = 60


Waiting = asyncio.Future[Outcome]
"""A sender's, for what became of its report."""

T = TypeVar("T")
Made = TypeVar("Made")


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
        self._understanding = understanding
        self._is_opted_out = opted_out
        self._outbox = outbox
        self._rate_limit = rate_limit
        self._door = door
        self._metrics = metrics
        self._sparing = Sparing()
        self._gathered: list[tuple[bytes, Waiting]] = []
        self._accepted = metrics.reports.labels(NAME, "accepted")
        self._opted_out = metrics.reports.labels(NAME, "opted-out")
        self._stored = metrics.nodes.labels("stored")

    def routes(self) -> list[web.RouteDef]:
        """`/usage`, and `/usage/usage` where a proxy leaves its prefix on."""
        return [web.post("/usage", self.receive), web.post("/usage/usage", self.receive)]

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
        return await self._understood(body)

    def _understood(self, body: bytes) -> Waiting:
        """What a body means, once it is durable; together with all that came with it.

        One after the other without anything between, reports cost about half: the processor's
        caches hold what understanding one needs.
        """
        loop = asyncio.get_running_loop()
        if not self._gathered:
            loop.call_soon(self._understand)
        future: Waiting = loop.create_future()
        self._gathered.append((body, future))
        return future

    def _understand(self) -> None:
        gathered, self._gathered = self._gathered, []
        now = time.time_ns()
        # In two rounds, for the same reason.
        reads = _each(self._understanding.read, gathered)
        outcomes = _each(lambda read: self._outcome(read, now), reads)
        accepted = []
        for outcome, future in outcomes:
            if isinstance(outcome, Accepted):
                accepted.append((outcome, future))
            else:
                _settle(future, outcome)
        if accepted:
            appended = self._outbox.append(*[outcome.entry for outcome, _ in accepted])
            appended.add_done_callback(lambda done: self._settle_all(accepted, done.exception()))

    def _outcome(self, read: Read | Refusal, now_ns: int) -> Outcome:
        if isinstance(read, Refusal):
            return read
        return self._understanding.admit(read, self._is_opted_out, now_ns)

    def _settle_all(
        self,
        accepted: Sequence[tuple[Accepted, Waiting]],
        error: BaseException | None,
    ) -> None:
        if error is None:
            self._accepted.inc(len(accepted))
            self._stored.inc(sum([outcome.nodes for outcome, _ in accepted]))
            for outcome, future in accepted:
                _settle(future, outcome)
            return
        if isinstance(error, OutboxUnavailable):
            told: Refusal | BaseException = Refusal(Reason.UNAVAILABLE, str(error), _RETRY_AFTER_S)
        else:
            told = error
        for _, future in accepted:
            _settle(future, told)


def _each(
    work: Callable[[T], Made], given: Iterable[tuple[T, Waiting]]
) -> list[tuple[Made, Waiting]]:
    """What `work` makes of each; who waits for one of which it makes an error is told that."""
    made = []
    for each, future in given:
        try:
            made.append((work(each), future))
        except Exception as error:  # noqa: BLE001 - it is one report's; the others go on
            _settle(future, error)
    return made


def _settle(future: Waiting, outcome: Outcome | BaseException) -> None:
    """Tell whoever still waits."""
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


@lru_cache(maxsize=256)
def _accepted(nodes: int, ignored: tuple[tuple[str, int], ...]) -> bytes:
    """The body of the answer to an accepted report."""
    reply = {"status": "accepted", "nodes": nodes, "ignored": dict(ignored)}
    return json.dumps(reply, separators=(",", ":")).encode() + b"\n"
