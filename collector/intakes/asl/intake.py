"""Request handlers of the intake of `asl-telemetry`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final

import structlog
from aiohttp import web
from multidict import CIMultiDictProxy

from collector.admission import RateLimit
from collector.fast_path import FastHandler, Reply, decided
from collector.intakes.asl.points import Accepted, OptedOut, Outcome, Read, ReportConverter
from collector.intakes.door import Door
from collector.intakes.gather import Gather
from collector.intakes.proof import Proof
from collector.logs import Sparing
from collector.metrics import Metrics
from collector.outbox import Entry, Outbox
from collector.privacy import ServerPseudonym
from collector.problems import Refusal
from collector.receipts import Receipt, prebuilt
from collector.tag_budget import Change

log = structlog.get_logger("collector.intakes.asl")

NAME: Final = "asl"
_PATHS: Final = ("/usage", "/usage/usage")
"""The second is for proxies that do not strip their prefix."""

Taken = Accepted | OptedOut


class _Handling:
    """Steps of a report from its body to its outcome."""

    def __init__(
        self,
        converter: ReportConverter,
        opted_out: Callable[[ServerPseudonym], bool],
        remember: Callable[[Iterable[Change]], None],
        metrics: Metrics,
    ) -> None:
        self.parse = converter.read
        self._converter = converter
        self._is_opted_out = opted_out
        self._remember = remember
        self._accepted = metrics.reports.labels(NAME, "accepted")
        self._nodes = metrics.nodes.labels("stored")

    def decide(self, parsed: Read, now_ns: int) -> Outcome:
        """The outcome of a report received at `now_ns` (UTC, ns since 1970)."""
        return self._converter.admit(parsed, self._is_opted_out, now_ns)

    def entries(self, outcome: Taken) -> tuple[Entry, ...]:
        """The outbox entry of a report: its points, or the count of a dropped one."""
        return (outcome.entry,)

    def stored(self, outcomes: Sequence[Taken]) -> None:
        """Count durable reports and their nodes, and pass their changes of tag budgets on."""
        nodes = [outcome.nodes for outcome in outcomes if isinstance(outcome, Accepted)]
        self._accepted.inc(len(nodes))
        self._nodes.inc(sum(nodes))
        for outcome in outcomes:
            if isinstance(outcome, Accepted) and outcome.tag_values:
                self._remember(outcome.tag_values)


class AslIntake:
    """Receives reports of `asl-telemetry`; `opted_out` returns whether an owner's are dropped.

    `remember` is given the values of tags that stored reports say for the first time on a day.
    """

    def __init__(
        self,
        converter: ReportConverter,
        *,
        opted_out: Callable[[ServerPseudonym], bool],
        remember: Callable[[Iterable[Change]], None],
        outbox: Outbox,
        door: Door,
        rate_limit: RateLimit,
        metrics: Metrics,
        clock: Callable[[], int],
    ) -> None:
        self._rate_limit = rate_limit
        self._converter = converter
        self._door = door
        self._metrics = metrics
        self._sparing = Sparing()
        self._gather: Gather[Read, Taken] = Gather(
            outbox, _Handling(converter, opted_out, remember, metrics), clock=clock
        )
        self._opted_out = metrics.reports.labels(NAME, "opted-out")

    def routes(self) -> list[web.RouteDef]:
        """Routes of the reports."""
        return [web.post(path, self.receive) for path in _PATHS]

    def identify(self, body: bytes) -> Proof | Refusal:
        """The proof of ownership in a body, parsed like a report; nothing of it is stored."""
        return self._converter.identify(body)

    def fast_handlers(self) -> dict[str, FastHandler]:
        """Handlers of the same paths on the fast path."""
        return dict.fromkeys(_PATHS, self.receive_fast)

    async def receive(self, request: web.Request) -> web.Response:
        """Handle one submission; responds 200 only when it is durable."""
        if (refused := decided(request)) is not None:
            return refused.response()
        begun = time.perf_counter()
        body = await self._door.body(request, self._rate_limit)
        outcome = body if isinstance(body, Refusal) else await self._gather.outcome(body)
        reply = self._concluded(outcome, begun)
        return reply.response() if isinstance(reply, Refusal) else Receipt(reply)

    def receive_fast(
        self, headers: CIMultiDictProxy[str], peer: str, body: bytes, reply: Reply
    ) -> None:
        """Handle one submission on the fast path, with the same checks, steps and metrics."""
        begun = time.perf_counter()

        def tell(outcome: Outcome | BaseException) -> None:
            if isinstance(outcome, BaseException):
                reply(outcome)
                return
            answer = self._concluded(outcome, begun)
            reply(answer if isinstance(answer, Refusal) else _prebuilt(answer))

        refused = self._door.refusal(headers, peer, self._rate_limit)
        if refused is None:
            self._gather.add(body, tell)
        else:
            tell(refused)

    def _concluded(self, outcome: Outcome, begun: float) -> bytes | Refusal:
        """Count an outcome, and return the response body or the refusal."""
        self._metrics.request_seconds.observe(time.perf_counter() - begun)
        if isinstance(outcome, Refusal):
            self._metrics.reports.labels(NAME, outcome.reason.value).inc()
            self._sparing.info(
                log, "refused", intake=NAME, reason=outcome.reason.value, detail=outcome.detail
            )
            return outcome
        if isinstance(outcome, OptedOut):
            self._opted_out.inc()
            return _accepted(0, tuple(outcome.ignored.items()))
        return _accepted(outcome.nodes, tuple(outcome.ignored.items()))


@lru_cache(maxsize=256)
def _accepted(nodes: int, ignored: tuple[tuple[str, int], ...]) -> bytes:
    """The response body for an accepted report."""
    reply = {"status": "accepted", "nodes": nodes, "ignored": dict(ignored)}
    return json.dumps(reply, separators=(",", ":")).encode() + b"\n"


_prebuilt: Final = lru_cache(maxsize=256)(prebuilt)
