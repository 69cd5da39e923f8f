"""File formats of downloads: JSON or CSV, from the path or from the Accept header."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, Self

from aiohttp import hdrs, web

_QUALITY: Final = re.compile(r"q\s*=\s*([01](?:\.\d*)?)")


class Format(StrEnum):
    """The file format of a download."""

    JSON = "json"
    CSV = "csv"

    @property
    def content_type(self) -> str:
        """The media type."""
        return "application/json" if self is Format.JSON else "text/csv"

    @classmethod
    def of(cls, request: web.Request) -> Self:
        """The format that the path names, else the one that Accept prefers, else JSON."""
        if "format" in request.match_info:
            return cls(request.match_info["format"])
        best, found = 0.0, cls("json")
        for part in request.headers.get(hdrs.ACCEPT, "").lower().split(","):
            kind, _, parameters = part.partition(";")
            accepted = next((item for item in cls if item.content_type == kind.strip()), None)
            quality = _QUALITY.search(parameters)
            weight = float(quality[1]) if quality else 1.0
            if accepted is not None and weight > best:
                best, found = weight, accepted
        return found
