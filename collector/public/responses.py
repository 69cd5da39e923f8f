"""Parts that all public responses share: entity tags, gzip, and CORS headers."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import blake2b
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from collector.influx import InfluxError
from collector.problems import Reason, Refusal

_RETRY_AFTER_S: Final = 60
_GZIP: Final = 16 + zlib.MAX_WBITS

LICENCE_URL: Final = "https://creativecommons.org/publicdomain/zero/1.0/"

LICENCE_LINK: Final = f'<{LICENCE_URL}>; rel="license"'

RESPONSE_TIMEOUT_S: Final = 4.5
"""A response begins within this time, or it is 503, even if InfluxDB hangs."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CORS_HEADERS: Final[dict[str, str]] = {
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
    hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: "ETag, Link, Retry-After",
}
"""Let pages of any origin read the response: it is the same for every reader."""

SERIES_UNAVAILABLE: Final = Refusal(
    Reason.UNAVAILABLE, "the series cannot be read now; try again in a minute", _RETRY_AFTER_S
)


class WrongParameter(Exception):
    """A parameter of a query is unknown or has an invalid value; the text is for the reader."""


def etag(*parts: object) -> str:
    """A weak entity tag of the parts of a response; weak, since the response may be compressed."""
    digest = blake2b(digest_size=12)
    for part in parts:
        digest.update(blake2b(str(part).encode(), digest_size=16).digest())
    return f'W/"{digest.hexdigest()}"'


def age_headers(as_of: datetime | None) -> dict[str, str]:
    """Headers of a response made of numbers read at `as_of`; none if they are current."""
    if as_of is None:
        return {}
    read_at = format_datetime(as_of.astimezone(UTC), usegmt=True)
    return {hdrs.LAST_MODIFIED: read_at, hdrs.CACHE_CONTROL: "no-cache"}


def download_headers(
    tag: str, cache_control: str, vary: str, as_of: datetime | None = None
) -> dict[str, str]:
    """Headers of a download with an entity tag; `as_of` is as in `age_headers`."""
    return {
        **CORS_HEADERS,
        hdrs.ETAG: tag,
        hdrs.CACHE_CONTROL: cache_control,
        hdrs.VARY: vary,
        hdrs.LINK: LICENCE_LINK,
        **age_headers(as_of),
    }


def is_not_modified(request: web.Request, tag: str) -> bool:
    """Whether the client has this version already (If-None-Match, RFC 9110, 13.1.2)."""
    sent = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH, ()))
    known = {part.strip().removeprefix("W/") for part in sent.split(",")}
    return tag.removeprefix("W/") in known or "*" in known


def accepts_gzip(request: web.Request) -> bool:
    """Whether Accept-Encoding allows gzip."""
    for part in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower().split(","):
        coding, _, quality = part.partition(";")
        if coding.strip() == "gzip":
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def gzipped(body: bytes) -> bytes:
    """A whole body, compressed with gzip."""
    return zlib.compress(body, 6, _GZIP)


def cors_routes(routes: Iterable[tuple[str, Handler]]) -> list[web.RouteDef]:
    """GET routes that pages of any origin may read, each with its CORS preflight.

    A handler that cannot read the series (InfluxError) responds with 503, one that raises
    WrongParameter with 400.
    """
    found = []
    for path, handler in routes:
        found += [web.get(path, _with_cors(handler)), web.options(path, _preflight)]
    return found


def in_formats(path: str, handler: Handler) -> list[tuple[str, Handler]]:
    """Routes of a download, whose format is in the path or in Accept."""
    return [(path, handler), (f"{path}.{{format:json|csv}}", handler)]


def _with_cors(handler: Handler) -> Handler:
    async def respond(request: web.Request) -> web.StreamResponse:
        try:
            response = await handler(request)
        except InfluxError:
            response = SERIES_UNAVAILABLE.response()
        except WrongParameter as error:
            response = Refusal(Reason.INVALID_PARAMETER, str(error)).response()
        # A streamed response has sent its headers, with these, already.
        if not response.prepared:
            response.headers.update(CORS_HEADERS)
        return response

    return respond


async def _preflight(_request: web.Request) -> web.Response:
    return web.Response(
        status=HTTPStatus.NO_CONTENT,
        headers={
            **CORS_HEADERS,
            hdrs.ALLOW: "GET, HEAD, OPTIONS",
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, HEAD",
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "If-None-Match",
            hdrs.ACCESS_CONTROL_MAX_AGE: "86400",
        },
    )
