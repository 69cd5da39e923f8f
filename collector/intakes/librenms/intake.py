"""Request handlers of LibreNMS's intake: `log.php` and `clear.php`.

Replies of `log.php`:

| status | reason | when |
|---|---|---|
| 200 | | the report is durable; or its install's owner has opted out, and nothing is stored |
| 400 | malformed-json | the field `data` is missing, or holds no JSON object |
| 400 | invalid-field | `uuid` is missing or no UUID; `data` is missing or has no group |
| 408, 413, 415, 429, 503 | | as for every sender; 429 also for an install's reports |

Replies of `clear.php`, which must be 2xx, else the client keeps its UUID and asks again:

| status | reason | when |
|---|---|---|
| 200 | | erased: nothing of the install is stored, known or not |
| 202 | | remembered: InfluxDB cannot do it now, or an operator has to release it |
| 400 | invalid-field | there is no field `uuid` |
| 408, 413, 415, 503 | | as for every sender |
| 429 | rate-limited | too many from one address: it erases more than its own |

The client reads neither body.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import structlog
from aiohttp import hdrs, web

from collector.admission import Buckets, RateLimit
from collector.fast_path import FastHandler
from collector.intakes.door import Door
from collector.intakes.gather import Gather
from collector.intakes.intake import IntakeContext
from collector.intakes.librenms.form import text_field
from collector.intakes.librenms.operations import PREFIXES
from collector.intakes.librenms.points import NAME, ReportConverter, versions_text
from collector.intakes.librenms.report import Reading, read, uuid_of
from collector.intakes.proof import Proof
from collector.logs import Sparing
from collector.metrics import Metrics
from collector.outbox import Entry
from collector.privacy import ServerPseudonym
from collector.problems import RETRY_AFTER_S, Reason, Refusal
from collector.sqlite.errors import StoreUnavailable
from collector.tag_budget import Change, Changes

log = structlog.get_logger("collector.intakes.librenms")

MOST_BYTES: Final = 2 << 20
"""Largest body: an encoded report of some 10 000 devices with as many sysDescr."""
_PATIENCE_S: Final = 20.0
"""Longest time until the reply to `clear.php`; the client waits 30 s."""
_NO_UUID: Final = Refusal(Reason.INVALID_FIELD, "uuid: is missing")


@dataclass(frozen=True, slots=True)
class Taken:
    """An accepted report. `entry` is None if its owner has opted out."""

    entry: Entry | None
    groups: int
    pairs: int
    ignored: Mapping[str, int]
    changes: tuple[Change, ...] = ()


class Handling:
    """Steps of a report from its body to its outcome."""

    def __init__(
        self,
        converter: ReportConverter,
        *,
        opted_out: Callable[[ServerPseudonym], bool],
        server_limit: Buckets,
        remember: Callable[[Iterable[Change]], None],
        metrics: Metrics,
    ) -> None:
        self._converter = converter
        self._is_opted_out = opted_out
        self._server_limit = server_limit
        self._remember = remember
        self._metrics = metrics

    def parse(self, body: bytes) -> Reading | Refusal:
        """Parse the form in a body, or in the query of a URL."""
        return read(body)

    def decide(self, parsed: Reading, now_ns: int) -> Taken | Refusal:
        """The outcome of a report received at `now_ns` (UTC, ns since 1970)."""
        owner = self._converter.owner(parsed.uuid)
        if wait := self._server_limit.wait(owner, now_ns / 10**9):
            return Refusal(Reason.RATE_LIMITED, "too many reports of one install", wait)
        for name in parsed.ignored:
            self._metrics.ignored_values.labels(f"librenms-{name}").inc()
        if self._is_opted_out(owner):
            return Taken(None, 0, 0, {**parsed.ignored, "opted-out": 1})
        changes: Changes = []
        entry = self._converter.entry(parsed, now_ns, changes)
        return Taken(entry, len(parsed.groups), len(parsed.pairs), parsed.ignored, tuple(changes))

    def entries(self, outcome: Taken) -> Sequence[Entry]:
        """The outbox entry of an accepted report."""
        return () if outcome.entry is None else (outcome.entry,)

    def stored(self, outcomes: Sequence[Taken]) -> None:
        """Count durable reports, and pass on their changes of the budget of groups."""
        self._metrics.reports.labels(NAME, "accepted").inc(len(outcomes))
        for outcome in outcomes:
            if outcome.changes:
                self._remember(outcome.changes)


class LibreNMSIntake:
    """Receives reports, and requests to erase them."""

    def __init__(
        self,
        converter: ReportConverter,
        handling: Handling,
        context: IntakeContext,
        *,
        rate_limit: RateLimit,
        clear_limit: RateLimit,
    ) -> None:
        settings = context.settings
        self._converter = converter
        self._erase = context.erase
        self._door = context.door
        # Without the check of the outbox: one that is full must not keep anybody from erasing.
        self._clear_door = Door(
            trusted_proxies=settings.trusted_proxies, read_timeout_s=settings.read_timeout
        )
        self._rate_limit = rate_limit
        self._clear_limit = clear_limit
        self._metrics = context.metrics
        self._sparing = Sparing()
        self._gather: Gather[Reading, Taken] = Gather(context.outbox, handling, clock=context.clock)

    def routes(self) -> list[web.RouteDef]:
        """Both pages by POST and GET; a HEAD erases nothing."""
        pages = (("/log.php", self.receive), ("/clear.php", self.clear))
        return [
            route
            for prefix in PREFIXES
            for path, handler in pages
            for route in (
                web.post(prefix + path, handler),
                web.get(prefix + path, handler, allow_head=False),
            )
        ]

    def fast_handlers(self) -> Mapping[str, FastHandler]:
        """None: one report a day from each install needs none."""
        return {}

    def identify(self, body: bytes) -> Proof | Refusal:
        """The proof of ownership in the form of either page; nothing of it is stored.

        A report shows the stored ones with the same versions; a UUID alone shows their number.
        """
        report = read(body)
        if not isinstance(report, Refusal):
            owner = self._converter.owner(report.uuid)
            return Proof(owner, {"versions": versions_text(report)})
        uuid = uuid_of(text_field(body, "uuid") or "")
        if uuid is None:
            return report
        # No report has such a field.
        return Proof(self._converter.owner(uuid), {"uuid": ""})

    async def receive(self, request: web.Request) -> web.Response:
        """Handle `log.php`; responds 200 only when the report is durable."""
        begun = time.perf_counter()
        body = await _form(request, self._door, self._rate_limit)
        outcome = body if isinstance(body, Refusal) else await self._gather.outcome(body)
        self._metrics.request_seconds.observe(time.perf_counter() - begun)
        if isinstance(outcome, Refusal):
            return self._refused(outcome)
        if outcome.entry is None:
            self._metrics.reports.labels(NAME, "opted-out").inc()
        return _reply(
            HTTPStatus.OK,
            {
                "status": "accepted",
                "groups": outcome.groups,
                "pairs": outcome.pairs,
                "ignored": dict(outcome.ignored),
            },
        )

    async def clear(self, request: web.Request) -> web.Response:
        """Handle `clear.php`; responds 200 only when nothing of the install is left."""
        body = await _form(request, self._clear_door, self._clear_limit)
        if isinstance(body, Refusal):
            return self._refused(body)
        given = text_field(body, "uuid")
        if not given:
            return self._refused(_NO_UUID)
        uuid = uuid_of(given)
        # Under text that is no UUID nothing was ever stored.
        outcome = "erased" if uuid is None else await self._erased(self._converter.owner(uuid))
        if isinstance(outcome, Refusal):
            return self._refused(outcome)
        self._metrics.reports.labels(NAME, "cleared").inc()
        status = HTTPStatus.OK if outcome == "erased" else HTTPStatus.ACCEPTED
        return _reply(status, {"status": outcome})

    async def _erased(self, owner: ServerPseudonym) -> str | Refusal:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await self._erase(owner)
        except TimeoutError:
            # It is stored, and done whether anybody waits or not.
            return "delayed"
        except StoreUnavailable:
            return Refusal(Reason.UNAVAILABLE, "nothing can be stored now", RETRY_AFTER_S)

    def _refused(self, refusal: Refusal) -> web.Response:
        self._metrics.reports.labels(NAME, refusal.reason.value).inc()
        self._sparing.info(
            log, "refused", intake=NAME, reason=refusal.reason.value, detail=refusal.detail
        )
        return refusal.response()


async def _form(request: web.Request, door: Door, limit: RateLimit) -> bytes | Refusal:
    """The form of a request: its body, or the query of its URL."""
    if request.method == hdrs.METH_GET:
        refused = door.refusal(request.headers, request.remote or "", limit)
        return refused or request.rel_url.raw_query_string.encode()
    return await door.body(request, limit, max_bytes=MOST_BYTES)


def _reply(status: HTTPStatus, said: Mapping[str, Any]) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps(said, separators=(",", ":")).encode() + b"\n",
        content_type="application/json",
        headers={hdrs.CACHE_CONTROL: "no-store"},
    )
