"""Why a submission is refused: one word each, the same in reply, log and metric.

The reply table, written before the handlers (docs/http.md shows it to people):

| status | reason | when | to the sender |
|---|---|---|---|
| 400 | malformed-json | the body is no JSON object | never resend |
| 400 | invalid-field | a field of a wrong type or over a limit, named | never resend |
| 400 | no-public-nodes | no public node is left in the report | never resend |
| 408 | too-slow | head or body did not arrive whole in time | never resend |
| 413 | too-large | the body is over the limit | never resend |
| 415 | unsupported-encoding | the body is compressed | never resend |
| 429 | rate-limited | too many reports from one address, or of one server | after Retry-After |
| 503 | unavailable | nothing can be stored now | after Retry-After |

Whatever is asked for: 400 malformed-http, 408 too-slow, 417 unsupported-expectation,
431 head-too-large, 503 too-many-connections, and 500 internal-error, which is a bug.
Readers are told 400 invalid-parameter, 404 not-found, 405 method-not-allowed, 410 gone and
503 unavailable (nothing can be read now).

Form: RFC 9457, `application/problem+json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

SERVER: Final = "usage-collector"
"""What answers call us: no version, of ours or of what we are built on."""

RETRY_AFTER_S: Final = 60
"""Seconds after which a sender that is told 503 may come back."""


class Reason(StrEnum):
    """The one word of a refusal."""

    MALFORMED_JSON = "malformed-json"
    INVALID_FIELD = "invalid-field"
    NO_PUBLIC_NODES = "no-public-nodes"
    TOO_LARGE = "too-large"
    UNSUPPORTED_ENCODING = "unsupported-encoding"
    RATE_LIMITED = "rate-limited"
    UNAVAILABLE = "unavailable"
    INVALID_PARAMETER = "invalid-parameter"
    GONE = "gone"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    MALFORMED_HTTP = "malformed-http"
    HEAD_TOO_LARGE = "head-too-large"
    TOO_SLOW = "too-slow"
    TOO_MANY_CONNECTIONS = "too-many-connections"
    UNSUPPORTED_EXPECTATION = "unsupported-expectation"
    INTERNAL_ERROR = "internal-error"


_STATUS = {
    Reason.MALFORMED_JSON: HTTPStatus.BAD_REQUEST,
    Reason.INVALID_FIELD: HTTPStatus.BAD_REQUEST,
    Reason.NO_PUBLIC_NODES: HTTPStatus.BAD_REQUEST,
    Reason.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Reason.UNSUPPORTED_ENCODING: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Reason.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    Reason.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.INVALID_PARAMETER: HTTPStatus.BAD_REQUEST,
    Reason.GONE: HTTPStatus.GONE,
    Reason.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Reason.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    Reason.MALFORMED_HTTP: HTTPStatus.BAD_REQUEST,
    Reason.HEAD_TOO_LARGE: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    Reason.TOO_SLOW: HTTPStatus.REQUEST_TIMEOUT,
    Reason.TOO_MANY_CONNECTIONS: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.UNSUPPORTED_EXPECTATION: HTTPStatus.EXPECTATION_FAILED,
    Reason.INTERNAL_ERROR: HTTPStatus.INTERNAL_SERVER_ERROR,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal: its reason, a sentence for a person, and when to come back, in seconds.

    The sentence never repeats the sender's own values, so that it can be logged.
    """

    reason: Reason
    detail: str
    retry_after: int | None = None

    @property
    def status(self) -> HTTPStatus:
        """The HTTP status of the refusal."""
        return _STATUS[self.reason]

    def body(self) -> bytes:
        """The reply's body."""
        said = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "reason": self.reason.value,
            "detail": self.detail,
        }
        return json.dumps(said, separators=(",", ":")).encode() + b"\n"

    def headers(self) -> dict[str, str]:
        """The reply's headers, but for those of its body."""
        named: dict[str, str] = {hdrs.SERVER: SERVER}
        if self.retry_after is not None:
            named[hdrs.RETRY_AFTER] = str(self.retry_after)
        return named

    def response(self) -> web.Response:
        """The reply."""
        return web.Response(
            status=self.status,
            body=self.body(),
            content_type="application/problem+json",
            headers=self.headers(),
        )
