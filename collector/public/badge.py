"""Badge with the number of nodes: JSON for shields.io, and SVG.

JSON format: https://shields.io/badges/endpoint-badge
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from typing import Final, Literal

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field

from collector.public.responses import age_headers, cors_routes
from collector.public.series import PublicSeries, Snapshot

LABEL: Final = "AllStarLink nodes"
_COLOUR: Final = "0b6e75"
_NONE_COLOUR: Final = "6b7280"
_LABEL_COLOUR: Final = "30363d"
_MAX_AGE_S: Final = 3600
_LETTER: Final = 6.6
_PADDING: Final = 10


class Badge(BaseModel):
    """JSON body of shields.io's endpoint badge."""

    model_config = ConfigDict(populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schemaVersion")
    label: str = Field(description="left part")
    message: str = Field(description="right part: nodes of the last complete day")
    color: str = Field(description="colour of the right part, six hexadecimal digits")
    cache_seconds: int = Field(default=_MAX_AGE_S, alias="cacheSeconds", ge=300)


def badge(snapshot: Snapshot) -> Badge:
    """The badge of a snapshot: nodes of the last complete day."""
    final = snapshot.last_final
    if final is None:
        return Badge(label=LABEL, message="no complete day yet", color=_NONE_COLOUR)
    return Badge(label=LABEL, message=f"{final.fields.get('nodes', 0):,}", color=_COLOUR)


def badge_svg(shown: Badge) -> str:
    """The badge as SVG."""
    left, right = (_width(text) for text in (shown.label, shown.message))
    label, message = escape(shown.label), escape(shown.message)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img"'
        f' aria-label="{label}: {message}"><title>{label}: {message}</title>'
        f'<clipPath id="r"><rect width="{left + right}" height="20" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="20" fill="#{_LABEL_COLOUR}"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="#{shown.color}"/></g>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif"'
        ' font-size="11">'
        f'<text x="{left / 2:g}" y="14" textLength="{left - _PADDING}">{label}</text>'
        f'<text x="{left + right / 2:g}" y="14" textLength="{right - _PADDING}">{message}</text>'
        "</g></svg>\n"
    )


def _width(text: str) -> int:
    return round(len(text) * _LETTER) + _PADDING


def badge_routes(series: PublicSeries) -> list[web.RouteDef]:
    """`/badge/nodes.json` and `/badge/nodes.svg`."""
    return cors_routes(
        [
            ("/badge/nodes.json", partial(_show, series, _json, "application/json")),
            ("/badge/nodes.svg", partial(_show, series, badge_svg, "image/svg+xml")),
        ]
    )


def _json(shown: Badge) -> str:
    return shown.model_dump_json(by_alias=True) + "\n"


async def _show(
    series: PublicSeries, text: Callable[[Badge], str], kind: str, _request: web.Request
) -> web.Response:
    snapshot = await series.snapshot()
    headers = {hdrs.CACHE_CONTROL: f"public, max-age={_MAX_AGE_S}", **age_headers(snapshot.as_of)}
    return web.Response(text=text(badge(snapshot)), content_type=kind, headers=headers)
