"""Request handlers of LibreNMS's intake: `log.php` and `clear.php`.

docs/senders/librenms.md lists the replies. Those of `clear.php` must be 2xx, else the client keeps
its UUID and asks again. The client reads neither body.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Any, Final

import structlog
from aiohttp import hdrs, web

from collector.admission import Buckets, RateLimit
from collector.intakes.door import Door
from collector.intakes.intake import IntakeContext, OpenIntake
from collector.intakes.librenms import NAME
from collector.intakes.librenms.form import text_field
from collector.intakes.librenms.operations import PREFIXES
from collector.intakes.librenms.points import ReportConverter, prepare, versions_text
from collector.intakes.librenms.report import read, uuid_of
from collector.intakes.librenms.slots import Slots
from collector.intakes.proof import Proof
from collector.logs import Sparing
from collector.outbox import OutboxUnavailable
from collector.problems import RETRY_AFTER_S, Reason, Refusal
from collector.sqlite.errors import StoreUnavailable
from collector.tag_budget import Change, Changes

log = structlog.get_logger("collector.intakes.librenms")

MOST_BYTES: Final = 2 << 20
"""Largest body: an encoded report of some 10 000 devices with as many sysDescr."""
_SMALL: Final = 64 << 10
"""Largest body that is parsed in the event loop, in a few ms."""
_CLEARS_PER_HOUR: Final = 10
"""Limit of requests to erase from one client address, as for owners of other senders."""
_PATIENCE_S: Final = 20.0
"""Longest time until the reply to `clear.php`, in s; the client waits 30 s."""
_LARGE: Final = 32
"""Most bodies over `_SMALL` in memory at a time."""
_BUSY: Final = Refusal(
    Reason.UNAVAILABLE, "too many large reports arrive at this moment", RETRY_AFTER_S
)
_NO_UUID: Final = Refusal(Reason.INVALID_FIELD, "uuid: is missing")


class LibreNMSIntake(OpenIntake):
    """Receives reports, and requests to erase them.

    `remember` is called with changes of the budget of groups once their report is stored. Large
    bodies are parsed in the thread of `parsing`, one at a time, so that other senders do not wait.
    """

    def __init__(
        self,
        converter: ReportConverter,
        context: IntakeContext,
        *,
        remember: Callable[[Iterable[Change]], None],
        parsing: Executor,
    ) -> None:
        settings = context.settings
        self._converter = converter
        self._context = context
        # Does not check the outbox: a full one must not prevent an erasure.
        self._clear_door = Door(
            trusted_proxies=settings.trusted_proxies, read_timeout_s=settings.read_timeout
        )
        limit = settings.rate_limit
        self._reports = RateLimit(per_hour=limit, secret=secrets.token_bytes(32))
        self._installs = Buckets(per_hour=settings.server_rate_limit if limit else 0)
        self._clears = RateLimit(
            per_hour=_CLEARS_PER_HOUR if limit else 0, secret=secrets.token_bytes(32)
        )
        self._remember = remember
        self._parsing = parsing
        self._metrics = context.metrics
        self._sparing = Sparing()
        self._slots = Slots(total=_LARGE, per_address=_LARGE // 8)

    def routes(self) -> list[web.RouteDef]:
        """Routes of both pages, by POST and GET; a HEAD erases nothing."""
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

    def identify(self, body: bytes) -> Proof | Refusal:
        """The proof of ownership in the form of either page; nothing of it is stored.

        A report shows the stored ones with the same versions; a UUID alone shows their number.
        """
        report = read(body)
        if not isinstance(report, Refusal):
            owner = self._context.pseudonyms.server(report.uuid)
            return Proof(owner, {"versions": versions_text(report)})
        uuid = uuid_of(text_field(body, "uuid") or "")
        if uuid is None:
            return report
        # No report has such a field.
        return Proof(self._context.pseudonyms.server(uuid), {"uuid": ""})

    async def receive(self, request: web.Request) -> web.Response:
        """Handle `log.php`; responds 200 only when the report is durable."""
        begun = time.perf_counter()
        outcome = await self._outcome(request)
        self._metrics.request_seconds.observe(time.perf_counter() - begun)
        if isinstance(outcome, Refusal):
            return self._refused(outcome)
        return _reply(HTTPStatus.OK, outcome)

    async def _outcome(self, request: web.Request) -> dict[str, Any] | Refusal:
        """The reply to a request, or its refusal; a large body waits for a slot to be read."""
        door, length = self._context.door, request.content_length
        async with AsyncExitStack() as stack:
            if request.can_read_body and (length is None or length > _SMALL):
                address = door.address(request.headers, request.remote or "")
                slot = self._slots.one(address, within_s=self._context.settings.read_timeout)
                if not await stack.enter_async_context(slot):
                    return _BUSY
            body = await _form(request, door, self._reports)
            return body if isinstance(body, Refusal) else await self._take(body)

    async def _take(self, body: bytes) -> dict[str, Any] | Refusal:
        """Parse a report and make it durable, or drop it if its owner has opted out."""
        if len(body) <= _SMALL:
            report = prepare(body)
        else:
            loop = asyncio.get_running_loop()
            report = await loop.run_in_executor(self._parsing, prepare, body)
        if isinstance(report, Refusal):
            return report
        reading, now_ns = report.reading, self._context.clock()
        owner = self._context.pseudonyms.server(reading.uuid)
        if wait := self._installs.wait(owner, now_ns / 10**9):
            return Refusal(Reason.RATE_LIMITED, "too many reports of one install", wait)
        for name in reading.ignored:
            self._metrics.ignored_values.labels(f"librenms-{name}").inc()
        if self._context.opted_out(owner):
            self._metrics.reports.labels(NAME, "opted-out").inc()
            return _accepted(0, 0, {**reading.ignored, "opted-out": 1})
        changes: Changes = []
        entry = self._converter.entry(report, now_ns, changes)
        try:
            await self._context.outbox.append(entry)
        except OutboxUnavailable as error:
            return Refusal(Reason.UNAVAILABLE, str(error), RETRY_AFTER_S)
        self._remember(changes)
        self._metrics.reports.labels(NAME, "accepted").inc()
        return _accepted(len(reading.groups), len(reading.pairs), dict(reading.ignored))

    async def clear(self, request: web.Request) -> web.Response:
        """Handle `clear.php`; responds 200 only when nothing of the install is left."""
        body = await _form(request, self._clear_door, self._clears)
        if isinstance(body, Refusal):
            return self._refused(body)
        given = text_field(body, "uuid")
        if not given:
            return self._refused(_NO_UUID)
        uuid = uuid_of(given)
        # Nothing is ever stored under a text that is not a UUID.
        outcome = "erased" if uuid is None else await self._erased(uuid)
        if isinstance(outcome, Refusal):
            return self._refused(outcome)
        self._metrics.reports.labels(NAME, "cleared").inc()
        status = HTTPStatus.OK if outcome == "erased" else HTTPStatus.ACCEPTED
        return _reply(status, {"status": outcome})

    async def _erased(self, uuid: str) -> str | Refusal:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await self._context.erase(self._context.pseudonyms.server(uuid))
        except TimeoutError:
            # The request is stored, and carried out even if nobody waits.
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


def _accepted(groups: int, pairs: int, ignored: dict[str, int]) -> dict[str, Any]:
    return {"status": "accepted", "groups": groups, "pairs": pairs, "ignored": ignored}


def _reply(status: HTTPStatus, said: Mapping[str, Any]) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps(said, separators=(",", ":")).encode() + b"\n",
        content_type="application/json",
        headers={hdrs.CACHE_CONTROL: "no-store"},
    )
