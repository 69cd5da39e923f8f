"""Request handlers of telemetrics-client's intake.

docs/senders/telemetrics.md lists the replies. Every refusal is `{"message": …, "reason": …}`. The
client keeps a record that was not answered 201, and sends it again later.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from aiohttp import hdrs, web

from collector.admission import Buckets, RateLimit
from collector.intakes.intake import IntakeContext, OpenIntake
from collector.intakes.proof import Proof
from collector.intakes.telemetrics import NAME
from collector.intakes.telemetrics.fields import (
    MOST_PAYLOAD,
    TID,
    check,
    from_json,
    is_machine_id,
    named,
)
from collector.intakes.telemetrics.points import RecordConverter
from collector.logs import Sparing
from collector.outbox import OutboxUnavailable
from collector.problems import RETRY_AFTER_S, Reason, Refusal
from collector.records.record import Checked, answer
from collector.tag_budget import Change, Changes

log = structlog.get_logger("collector.intakes.telemetrics")

PATHS: Final = ("/v2/collector", "/")
_ESCAPED: Final = 6
"""Most bytes of JSON for one byte of a payload: `\\u0000`."""
MOST_BYTES: Final = _ESCAPED * MOST_PAYLOAD + (64 << 10)
"""Largest body: a payload of 300 KiB in JSON, with the other fields."""


class TelemetricsIntake(OpenIntake):
    """Receives records, one in each request.

    `remember` is called with changes of the tags' budgets once their record is durable.
    """

    def __init__(
        self,
        converter: RecordConverter,
        context: IntakeContext,
        *,
        remember: Callable[[Iterable[Change]], None],
    ) -> None:
        settings = context.settings
        self._converter = converter
        self._context = context
        self._tid = settings.telemetrics_tid
        self._metrics = context.metrics
        limit = settings.rate_limit
        self._rate_limit = RateLimit(per_hour=limit, secret=secrets.token_bytes(32))
        self._machine_limit = Buckets(per_hour=settings.server_rate_limit if limit else 0)
        self._remember = remember
        self._sparing = Sparing()

    def routes(self) -> list[web.RouteDef]:
        """Routes of the records; pages at the same path answer GET."""
        return [web.post(path, self.receive) for path in PATHS]

    def identify(self, body: bytes) -> Proof | Refusal:
        """The proof of ownership: a JSON object with the machine's id, such as a record."""
        said = _object(body)
        if isinstance(said, Refusal):
            return said
        machine_id = said.get("machine_id")
        if not isinstance(machine_id, str) or not is_machine_id(machine_id):
            return Refusal(Reason.INVALID_FIELD, "machine_id: is missing or too long")
        return Proof(self._context.pseudonyms.machine(machine_id), {})

    async def receive(self, request: web.Request) -> web.Response:
        """Handle one record; responds 201 only when it is durable."""
        begun = time.perf_counter()
        outcome = await self._taken(request)
        self._metrics.request_seconds.observe(time.perf_counter() - begun)
        if isinstance(outcome, Refusal):
            return self._refused(outcome)
        return _reply(HTTPStatus.CREATED, outcome)

    async def _taken(self, request: web.Request) -> dict[str, Any] | Refusal:
        """The reply to a request whose record is durable, or the refusal."""
        body = await self._context.door.body(request, self._rate_limit, max_bytes=MOST_BYTES)
        if isinstance(body, Refusal):
            return body
        checked = self._checked(request, body)
        if isinstance(checked, Refusal):
            return checked
        owner = self._context.pseudonyms.machine(checked.machine_id)
        now_ns = self._context.clock()
        if wait := self._machine_limit.wait(owner, now_ns / 10**9):
            return Refusal(Reason.RATE_LIMITED, "too many records of one machine", wait)
        record = self._converter.record(checked, now_ns)
        if self._context.opted_out(owner):
            self._metrics.reports.labels(NAME, "opted-out").inc()
        else:
            changes: Changes = []
            try:
                await self._context.outbox.append(*self._converter.entries(record, now_ns, changes))
            except OutboxUnavailable as error:
                return Refusal(Reason.UNAVAILABLE, str(error), RETRY_AFTER_S)
            self._remember(changes)
            self._metrics.reports.labels(NAME, "accepted").inc()
        # The sender gets its own id back, whatever is stored.
        return answer(record) | {"machine_id": checked.machine_id}

    def _checked(self, request: web.Request, body: bytes) -> Checked | Refusal:
        """The fields of a request in either form, checked."""
        fields = named(request.headers.items())
        if request.content_type != "application/json" or "record_format_version" in fields:
            return check(fields, body, tid=self._tid)
        said = _object(body)
        if isinstance(said, Refusal):
            return said
        found = from_json(said, fields.get(TID))
        return found if isinstance(found, Refusal) else check(*found, tid=self._tid)

    def _refused(self, refusal: Refusal) -> web.Response:
        reason = refusal.reason.value
        self._metrics.reports.labels(NAME, reason).inc()
        self._sparing.info(log, "refused", intake=NAME, reason=reason, detail=refusal.detail)
        response = _reply(refusal.status, {"message": refusal.detail, "reason": reason})
        response.headers.update(refusal.headers())
        return response


def _object(body: bytes) -> dict[str, Any] | Refusal:
    try:
        # A client sends payloads as they are: bytes that are not UTF-8 become surrogates.
        said = json.loads(body.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return Refusal(Reason.MALFORMED_JSON, "the body is no JSON")
    if not isinstance(said, dict):
        return Refusal(Reason.MALFORMED_JSON, "the body is no JSON object")
    return said


def _reply(status: HTTPStatus, said: Mapping[str, Any]) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps(said).encode() + b"\n",
        content_type="application/json",
        headers={hdrs.CACHE_CONTROL: "no-store"},
    )
