"""The answer to a submission that was taken."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict

from collector.fast import Prebuilt
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


def prebuilt(body: bytes) -> Prebuilt:
    """The same answer as a Receipt with this body, for the fast path."""
    headers = {**_HEADERS, hdrs.CONTENT_LENGTH: str(len(body))}
    lines = [f"HTTP/1.1 {HTTPStatus.OK.value} {HTTPStatus.OK.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return Prebuilt("\r\n".join([*lines, f"{hdrs.DATE}: "]).encode(), b"\r\n\r\n" + body)
