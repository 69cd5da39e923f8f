"""Checks that apply to requests with a body of all kinds of senders.

In order of cost: encoding, sender's address, rate, availability, size. The first failure ends the
checks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import hdrs, web
from multidict import CIMultiDictProxy

from collector.admission import Network, RateLimit, is_within, sender_address
from collector.operations import problem
from collector.problems import RETRY_AFTER_S, Reason, Refusal

log = structlog.get_logger("collector.intakes.door")

_ENCODED: Final = Refusal(
    Reason.UNSUPPORTED_ENCODING, "send the body uncompressed, without Content-Encoding"
)
_TOO_LARGE: Final = Refusal(Reason.TOO_LARGE, "the body is over the limit")
_TOO_SLOW: Final = Refusal(Reason.TOO_SLOW, "the body did not arrive completely in time")
_CUT: Final = Refusal(Reason.MALFORMED_JSON, "the body is incomplete")

ANSWERS: Final = {
    HTTPStatus.REQUEST_TIMEOUT: problem("the body did not arrive completely in time: `too-slow`"),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: problem("the body is over the limit: `too-large`"),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: problem("the body is compressed: `unsupported-encoding`"),
    HTTPStatus.TOO_MANY_REQUESTS: problem(
        "too many requests from one address: `rate-limited`", "Retry-After"
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: problem(
        "nothing can be stored now: `unavailable`", "Retry-After"
    ),
}
"""Refusals of a door, described for OpenAPI."""


class Door:
    """Checks requests and reads their bodies.

    `unavailable` returns the reason if no report can be accepted now, else None. `read_timeout_s`
    limits the time in which a body arrives; the application's `client_max_size` limits its size.
    """

    def __init__(
        self,
        *,
        trusted_proxies: Iterable[Network],
        read_timeout_s: float,
        unavailable: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._trusted = tuple(trusted_proxies)
        self._read_timeout_s = read_timeout_s
        self._unavailable = unavailable
        self._warned = False

    async def body(
        self, request: web.Request, *limits: RateLimit, max_bytes: int = 0
    ) -> bytes | Refusal:
        """The complete body of a request, or its refusal.

        Each of `limits` counts the request for its sender's address. `max_bytes` replaces the
        application's `client_max_size`, for senders with larger bodies.
        """
        refused = self.refusal(request.headers, request.remote or "", *limits)
        if refused is not None:
            return refused
        if max_bytes:
            request = request.clone(client_max_size=max_bytes + 1)
        return await _body_of(request, within_s=self._read_timeout_s)

    def refusal(
        self, headers: CIMultiDictProxy[str], peer: str, *limits: RateLimit
    ) -> Refusal | None:
        """The refusal of a request with these headers from the address `peer`, or None.

        Each of `limits` counts the request for its sender's address. The body is not read.
        """
        encoding = headers.get(hdrs.CONTENT_ENCODING)
        if encoding and encoding.strip().lower() not in ("", "identity"):
            return _ENCODED
        address = self.address(headers, peer)
        now = time.time()
        for limit in limits:
            if wait := limit.wait(address, now):
                return Refusal(Reason.RATE_LIMITED, "too many requests from one address", wait)
        if (why := self._unavailable()) is not None:
            return Refusal(Reason.UNAVAILABLE, why, RETRY_AFTER_S)
        return None

    def address(self, headers: CIMultiDictProxy[str], peer: str) -> str:
        """The address of a request's sender: the peer's, or the one that trusted proxies name."""
        if not self._trusted:
            return peer
        address = sender_address(peer, headers.getall(hdrs.X_FORWARDED_FOR, ()), self._trusted)
        if not self._warned and is_within(address, self._trusted):
            self._warned = True
            # No address is logged, not even a proxy's.
            log.warning(
                "a trusted proxy names no sender in X-Forwarded-For: its requests share the limits"
                " of one address"
            )
        return address


async def _body_of(request: web.Request, *, within_s: float) -> bytes | Refusal:
    if (request.content_length or 0) >= request.client_max_size:
        return _TOO_LARGE
    try:
        if request.content.is_eof():
            # The body arrived with its headers, as a report's does: no time-out is needed.
            body = await request.read()
        else:
            async with asyncio.timeout(within_s):
                body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        return _TOO_LARGE
    except TimeoutError:
        return _TOO_SLOW
    except (OSError, web.RequestPayloadError):
        return _CUT
    # Versions of aiohttp differ in whether `read` accepts a body of exactly this size.
    if len(body) >= request.client_max_size:
        return _TOO_LARGE
    return body
