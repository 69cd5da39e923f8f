"""Headers that every public answer carries, but for the receipts of senders."""

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
    """The content security policy of a page whose one style element holds `style`.

    No script, and nothing from elsewhere; its icon is in the page.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"{_NOTHING}; style-src 'sha256-{digest}'; img-src 'self' data:"


def public_headers(trusted: Sequence[Network]) -> Prepared:
    """What aiohttp calls before an answer's headers are sent; `trusted` are our proxies."""

    async def prepared(request: web.Request, response: web.StreamResponse) -> None:
        if isinstance(response, Receipt):
            return
        headers = response.headers
        headers[hdrs.SERVER] = SERVER
        headers.setdefault("Content-Security-Policy", _NOTHING)
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "no-referrer"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        if _by_tls(request, trusted):
            headers[hdrs.STRICT_TRANSPORT_SECURITY] = _HSTS

    return prepared


def _by_tls(request: web.Request, trusted: Sequence[Network]) -> bool:
    """Whether the reader came by TLS, as the last of our proxies tells."""
    said = request.headers.get(hdrs.X_FORWARDED_PROTO)
    if said is None or not trusted:
        return False
    nearest = said.rpartition(",")[2].strip().lower()
    return is_within(request.remote or "", trusted) and nearest == "https"
