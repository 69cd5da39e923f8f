"""Refusals of requests: each has a one-word reason, the same in response, log and metric.

Refusals of submissions (docs/http.md has the same table):

| status | reason | when | to the sender |
|---|---|---|---|
| 400 | malformed-json | the body is not a JSON object | never resend |
| 400 | invalid-field | the named field has a wrong type or is over a limit | never resend |
| 400 | no-public-nodes | no public node remains in the report | never resend |
| 408 | too-slow | head or body did not arrive completely in time | never resend |
| 413 | too-large | the body is over the limit | never resend |
| 415 | unsupported-encoding | the body is compressed | never resend |
| 429 | rate-limited | too many reports from one address, or of one server | after Retry-After |
| 503 | unavailable | nothing can be stored now | after Retry-After |
| 503 | wrong-role | a `collector publish` was asked, which takes no reports | after Retry-After |

Refusals of any request: 400 malformed-http, 408 too-slow, 417 unsupported-expectation,
431 head-too-large, 503 too-many-connections, and 500 internal-error, which is a bug.
Refusals of readers: 400 invalid-parameter, 401 unauthorized, 403 forbidden, 404 not-found,
405 method-not-allowed, 410 gone and 503 unavailable (nothing can be read now).

Format: RFC 9457, `application/problem+json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Final, Self

from aiohttp import hdrs, web

SERVER: Final = "usage-collector"
"""Value of the Server header, without any version."""

RETRY_AFTER_S: Final = 60
"""Value of Retry-After with a 503 for senders, in seconds."""


class Reason(StrEnum):
    """One-word reason of a refusal."""

    status: HTTPStatus
    """HTTP status of its refusals."""

    MALFORMED_JSON = "malformed-json", HTTPStatus.BAD_REQUEST
    INVALID_FIELD = "invalid-field", HTTPStatus.BAD_REQUEST
    NO_PUBLIC_NODES = "no-public-nodes", HTTPStatus.BAD_REQUEST
    TOO_LARGE = "too-large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    UNSUPPORTED_ENCODING = "unsupported-encoding", HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    RATE_LIMITED = "rate-limited", HTTPStatus.TOO_MANY_REQUESTS
    UNAVAILABLE = "unavailable", HTTPStatus.SERVICE_UNAVAILABLE
    WRONG_ROLE = "wrong-role", HTTPStatus.SERVICE_UNAVAILABLE
    INVALID_PARAMETER = "invalid-parameter", HTTPStatus.BAD_REQUEST
    UNAUTHORIZED = "unauthorized", HTTPStatus.UNAUTHORIZED
    FORBIDDEN = "forbidden", HTTPStatus.FORBIDDEN
    GONE = "gone", HTTPStatus.GONE
    NOT_FOUND = "not-found", HTTPStatus.NOT_FOUND
    METHOD_NOT_ALLOWED = "method-not-allowed", HTTPStatus.METHOD_NOT_ALLOWED
    MALFORMED_HTTP = "malformed-http", HTTPStatus.BAD_REQUEST
    HEAD_TOO_LARGE = "head-too-large", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    TOO_SLOW = "too-slow", HTTPStatus.REQUEST_TIMEOUT
    TOO_MANY_CONNECTIONS = "too-many-connections", HTTPStatus.SERVICE_UNAVAILABLE
    UNSUPPORTED_EXPECTATION = "unsupported-expectation", HTTPStatus.EXPECTATION_FAILED
    INTERNAL_ERROR = "internal-error", HTTPStatus.INTERNAL_SERVER_ERROR

    def __new__(cls, word: str, status: HTTPStatus) -> Self:
        """Make a member that is its word."""
        reason = str.__new__(cls, word)
        reason._value_ = word
        reason.status = status
        return reason


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal: its reason, a sentence for people, and the seconds before a retry.

    The sentence never contains values from the request, so that it can be logged.
    """

    reason: Reason
    detail: str
    retry_after: int | None = None

    @property
    def status(self) -> HTTPStatus:
        """The HTTP status."""
        return self.reason.status

    def body(self) -> bytes:
        """The response body."""
        problem = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "reason": self.reason.value,
            "detail": self.detail,
        }
        return json.dumps(problem, separators=(",", ":")).encode() + b"\n"

    def headers(self) -> dict[str, str]:
        """The response headers, except those that describe the body."""
        named: dict[str, str] = {hdrs.SERVER: SERVER}
        if self.retry_after is not None:
            named[hdrs.RETRY_AFTER] = str(self.retry_after)
        return named

    def response(self) -> web.Response:
        """The response."""
        return web.Response(
            status=self.status,
            body=self.body(),
            content_type="application/problem+json",
            headers=self.headers(),
        )
