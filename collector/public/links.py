"""Addresses of our pages, and references between them that hold behind any prefix. Pure.

A proxy may serve the whole site under a prefix (`https://host/usage/…`) and take it off, or leave
it on. Pages refer to each other relatively, which is right in both cases and needs no setting;
routes are mounted under the prefixes that may be left on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NoReturn
from urllib.parse import urlsplit

from aiohttp import web

from collector.public.answers import Handler
from collector.public.language import DEFAULT

_OLD_PREFIX: Final = "/usage"
"""Where ASL3-Usage stood."""


def path_of(page: str, language: str) -> str:
    """The address of a page in a language; the first page's name is empty."""
    return ("" if language == DEFAULT else f"/{language}") + (f"/{page}" if page else "") or "/"


def reference(to: str, *, at: str) -> str:
    """The relative reference (RFC 3986, 4.2) to an address from the page at another."""
    up = at.count("/") - 1
    return ("../" * up or "./") + to.removeprefix("/")


def mounted(routes: Sequence[web.RouteDef], public_url: str) -> list[web.RouteDef]:
    """Routes at the root, under `/usage` and under the path of our public address."""
    own = urlsplit(public_url).path
    found = {
        (route.method, prefix + route.path): route
        for prefix in (own, _OLD_PREFIX, "")
        for route in routes
        # What has the old prefix in its own path does not get it twice.
        if prefix != _OLD_PREFIX or not route.path.startswith(f"{_OLD_PREFIX}/")
    }
    if own:
        home = web.get(own, moved_to(f".{own[own.rindex('/') :]}/"))
        found.setdefault((home.method, own), home)
    return [
        web.RouteDef(method, path, route.handler, route.kwargs)
        for (method, path), route in found.items()
    ]


def moved_to(to: str) -> Handler:
    """A handler that leads to a relative reference, with 301."""

    async def moved(_request: web.Request) -> NoReturn:
        raise web.HTTPMovedPermanently(to)

    return moved
