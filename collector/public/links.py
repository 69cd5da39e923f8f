"""Paths of the pages, and relative links between them that work behind any prefix. Pure.

A proxy may serve the whole site under a prefix (`https://host/usage/…`), and strip the prefix or
keep it. Relative links work in both cases and need no setting; routes are mounted under the
prefixes that a proxy may keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NoReturn
from urllib.parse import urlsplit

from aiohttp import web

from collector.public.language import DEFAULT
from collector.public.responses import Handler

_OLD_PREFIX: Final = "/usage"
"""The prefix of ASL3-Usage."""


def path_of(page: str, language: str) -> str:
    """The path of a page in a language; the home page's name is empty."""
    return ("" if language == DEFAULT else f"/{language}") + (f"/{page}" if page else "") or "/"


def reference(to: str, *, at: str) -> str:
    """The relative reference (RFC 3986, 4.2) to the path `to` from a page at the path `at`."""
    up = at.count("/") - 1
    return ("../" * up or "./") + to.removeprefix("/")


def mounted(routes: Sequence[web.RouteDef], public_url: str) -> list[web.RouteDef]:
    """The routes, mounted at the root, under `/usage` and under the path of `public_url`."""
    own = urlsplit(public_url).path
    found = {
        (route.method, prefix + route.path): route
        for prefix in (own, _OLD_PREFIX, "")
        for route in routes
        # Routes whose own path has the old prefix do not get it twice.
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
    """A handler that redirects to a relative reference with 301."""

    async def moved(_request: web.Request) -> NoReturn:
        raise web.HTTPMovedPermanently(to)

    return moved
