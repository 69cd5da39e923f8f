"""Checks that a request with a body passes, whichever sender it comes from.

In order: encoding, sender's address, rate, availability, size. Each costs more than the one before
it, and what fails one costs nothing further.
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
_TOO_SLOW: Final = Refusal(Reason.TOO_SLOW, "the body did not arrive whole in time")
_CUT: Final = Refusal(Reason.MALFORMED_JSON, "the body did not arrive whole")

ANSWERS: Final = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: problem("the body is over the limit: `too-large`"),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: problem("the body is compressed: `unsupported-encoding`"),
    HTTPStatus.TOO_MANY_REQUESTS: problem(
        "too many requests from one address: `rate-limited`", "Retry-After"
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: problem(
        "nothing can be stored now: `unavailable`", "Retry-After"
    ),
}
"""The refusals of a door, for OpenAPI."""


class Door:
    """Reads the body of a request that may be taken, or says why it may not.

    `unavailable` tells why nothing can be taken now, None where it can. `read_timeout_s` bounds the
    arrival of a body; the application's `client_max_size` bounds its size.
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

    async def body(self, request: web.Request, *limits: RateLimit) -> bytes | Refusal:
        """The body of a request, whole and as it was sent, or why it is not taken.

        Each of `limits` counts the request for its sender's address.
        """
        refused = self.refusal(request.headers, request.remote or "", *limits)
        if refused is not None:
            return refused
        return await _body_of(request, within_s=self._read_timeout_s)

    def refusal(
        self, headers: CIMultiDictProxy[str], peer: str, *limits: RateLimit
    ) -> Refusal | None:
        """Why a request with these headers, from the address `peer`, is not taken; None: it is.

        Each of `limits` counts the request for its sender's address. The body remains to be read.
        """
        encoding = headers.get(hdrs.CONTENT_ENCODING)
        if encoding and encoding.strip().lower() not in ("", "identity"):
            return _ENCODED
        address = self._address(headers, peer)
        now = time.time()
        for limit in limits:
            if wait := limit.wait(address, now):
                return Refusal(Reason.RATE_LIMITED, "too many requests from one address", wait)
        if (why := self._unavailable()) is not None:
            return Refusal(Reason.UNAVAILABLE, why, RETRY_AFTER_S)
        return None

    def _address(self, headers: CIMultiDictProxy[str], peer: str) -> str:
        if not self._trusted:
            return peer
        address = sender_address(peer, headers.getall(hdrs.X_FORWARDED_FOR, ()), self._trusted)
        if not self._warned and is_within(address, self._trusted):
            self._warned = True
            # No address in the log: not even a proxy's.
            log.warning(
                "a trusted proxy names no sender in X-Forwarded-For: all that it hands on like this"
                " share the limits of one address"
            )
        return address


async def _body_of(request: web.Request, *, within_s: float) -> bytes | Refusal:
    try:
        if request.content.is_eof():
            # It came with its headers, as a report does: there is nothing to wait for.
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
    # Whether a body of just this size passes `read` differs between versions of aiohttp.
    if len(body) >= request.client_max_size:
        return _TOO_LARGE
    return body
