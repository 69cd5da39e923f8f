"""The body of a submission, as an intake takes it from a request."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import hdrs, web

from collector.problems import Reason, Refusal

_TOO_LARGE: Final = Refusal(Reason.TOO_LARGE, "the body is over the limit")
_TOO_SLOW: Final = Refusal(Reason.TOO_SLOW, "the body did not arrive whole in time")


async def body_of(request: web.Request, *, within_s: float) -> bytes | Refusal:
    """The body of a request, whole and as it was sent, or why it is not taken."""
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
        return Refusal(Reason.MALFORMED_JSON, "the body did not arrive whole")
    # Whether a body of just this size passes `read` differs between versions of aiohttp.
    if len(body) >= request.client_max_size:
        return _TOO_LARGE
    return body


def encoding_refused(request: web.Request) -> Refusal | None:
    """The refusal of a request whose body is compressed."""
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() == "identity":
        return None
    return Refusal(
        Reason.UNSUPPORTED_ENCODING, "send the body uncompressed, without Content-Encoding"
    )
