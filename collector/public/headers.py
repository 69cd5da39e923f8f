"""Security headers of every public response except receipts for reports."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import hdrs, web

from collector.admission import Network, is_within
from collector.problems import SERVER
from collector.receipts import Receipt

_HSTS: Final = "max-age=31536000"
_NOTHING: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

Prepared = Callable[[web.Request, web.StreamResponse], Awaitable[None]]


def page_policy(style: str) -> str:
    """The content security policy of a page whose only style element holds `style`.

    It allows no script and nothing from other origins; the icon is a data URL in the page.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"{_NOTHING}; style-src 'sha256-{digest}'; img-src 'self' data:"


def public_headers(trusted: Sequence[Network]) -> Prepared:
    """An `on_response_prepare` handler that adds the headers; `trusted` are the trusted proxies."""

    async def prepared(request: web.Request, response: web.StreamResponse) -> None:
        if isinstance(response, Receipt):
            return
        headers = response.headers
        headers[hdrs.SERVER] = SERVER
        headers.setdefault("Content-Security-Policy", _NOTHING)
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        if _came_by_tls(request, trusted):
            headers[hdrs.STRICT_TRANSPORT_SECURITY] = _HSTS

    return prepared


def _came_by_tls(request: web.Request, trusted: Sequence[Network]) -> bool:
    """Whether the request came by TLS, according to the nearest trusted proxy."""
    forwarded = request.headers.get(hdrs.X_FORWARDED_PROTO)
    if forwarded is None or not trusted:
        return False
    nearest = forwarded.rpartition(",")[2].strip().lower()
    return is_within(request.remote or "", trusted) and nearest == "https"
