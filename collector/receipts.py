"""Responses to accepted submissions."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict

from collector.fast_path import Prebuilt
from collector.problems import SERVER

_HEADERS: Final = CIMultiDict(
    {
        hdrs.SERVER: SERVER,
        hdrs.CONTENT_TYPE: "application/json",
        "X-Content-Type-Options": "nosniff",
    }
)


class Receipt(web.Response):
    """JSON response to an accepted submission, without the security headers of pages.

    Programs read it, not browsers; those headers would double its size.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(body=body, headers=_HEADERS.copy())


def prebuilt(body: bytes) -> Prebuilt:
    """The bytes of a Receipt with this body, for the fast path."""
    headers = {**_HEADERS, hdrs.CONTENT_LENGTH: str(len(body))}
    lines = [f"HTTP/1.1 {HTTPStatus.OK.value} {HTTPStatus.OK.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return Prebuilt("\r\n".join([*lines, f"{hdrs.DATE}: "]).encode(), b"\r\n\r\n" + body)
