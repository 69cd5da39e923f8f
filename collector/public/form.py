"""JSON or CSV: by the address, else by Accept."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, Self

from aiohttp import hdrs, web

_QUALITY: Final = re.compile(r"q\s*=\s*([01](?:\.\d*)?)")


class Form(StrEnum):
    """The form of a download."""

    JSON = "json"
    CSV = "csv"

    @property
    def content_type(self) -> str:
        """Its media type."""
        return "application/json" if self is Form.JSON else "text/csv"

    @classmethod
    def of(cls, request: web.Request) -> Self:
        """The form that the address names, else the one that Accept prefers; else JSON."""
        if "form" in request.match_info:
            return cls(request.match_info["form"])
        best, found = 0.0, cls("json")
        for part in request.headers.get(hdrs.ACCEPT, "").lower().split(","):
            kind, _, parameters = part.partition(";")
            form = next((form for form in cls if form.content_type == kind.strip()), None)
            quality = _QUALITY.search(parameters)
            weight = float(quality[1]) if quality else 1.0
            if form is not None and weight > best:
                best, found = weight, form
        return found
