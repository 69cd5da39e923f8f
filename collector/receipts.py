"""The answer to a submission that was taken."""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict

from collector.problems import SERVER

_HEADERS: Final = CIMultiDict(
    {
        hdrs.SERVER: SERVER,
        hdrs.CONTENT_TYPE: "application/json",
        "X-Content-Type-Options": "nosniff",
    }
)


class Receipt(web.Response):
    """What a sender is told, in JSON: all its headers are here.

    A program reads it and no browser: a page's rules for scripts, frames and links would cost as
    much to send as the answer itself.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(body=body, headers=_HEADERS.copy())
