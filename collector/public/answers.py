"""What the answers to readers share: validators, compression, and being open to every origin."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import blake2b
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from collector.problems import Reason, Refusal

_RETRY_AFTER_S: Final = 60
_GZIP: Final = 16 + zlib.MAX_WBITS

ANSWER_S: Final = 4.5
"""Within this an answer begins, or is 503, however InfluxDB does."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

OPEN: Final[dict[str, str]] = {
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
    hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: "ETag, Link, Retry-After",
}
"""Lets a page of any origin read the answer. Nothing here depends on who asks."""

UNREADABLE: Final = Refusal(
    Reason.UNAVAILABLE, "the series cannot be read now; try again in a minute", _RETRY_AFTER_S
)


def etag(*parts: object) -> str:
    """A weak entity tag of what an answer is made of; weak, since it may be compressed or not."""
    digest = blake2b(digest_size=12)
    for part in parts:
        digest.update(blake2b(str(part).encode(), digest_size=16).digest())
    return f'W/"{digest.hexdigest()}"'


def aged(as_of: datetime | None) -> dict[str, str]:
    """Headers of an answer made of numbers as they were, since they cannot be read now."""
    if as_of is None:
        return {}
    told = format_datetime(as_of.astimezone(UTC), usegmt=True)
    return {hdrs.LAST_MODIFIED: told, hdrs.CACHE_CONTROL: "no-cache"}


def is_known(request: web.Request, tag: str) -> bool:
    """Whether the reader holds this version already (If-None-Match, RFC 9110, 13.1.2)."""
    told = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH, ()))
    known = {part.strip().removeprefix("W/") for part in told.split(",")}
    return tag.removeprefix("W/") in known or "*" in known


def takes_gzip(request: web.Request) -> bool:
    """Whether the reader can unpack gzip."""
    for part in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower().split(","):
        coding, _, quality = part.partition(";")
        if coding.strip() == "gzip":
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def packed(body: bytes) -> bytes:
    """A whole answer as gzip."""
    pack = zlib.compressobj(6, wbits=_GZIP)
    return pack.compress(body) + pack.flush()


def opened(response: web.StreamResponse) -> web.StreamResponse:
    """The same answer, for every origin."""
    response.headers.update(OPEN)
    return response


def open_routes(routes: Iterable[tuple[str, Handler]]) -> list[web.RouteDef]:
    """GET routes that any origin may read, with the answer to a browser's preflight."""
    found = []
    for path, handler in routes:
        found += [web.get(path, _opening(handler)), web.options(path, _preflight)]
    return found


def _opening(handler: Handler) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = await handler(request)
        # A stream under way has sent its headers, these among them.
        return response if response.prepared else opened(response)

    return answer


async def _preflight(_request: web.Request) -> web.Response:
    return web.Response(
        status=HTTPStatus.NO_CONTENT,
        headers={
            **OPEN,
            hdrs.ALLOW: "GET, HEAD, OPTIONS",
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, HEAD",
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "If-None-Match",
            hdrs.ACCESS_CONTROL_MAX_AGE: "86400",
        },
    )
