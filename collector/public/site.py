"""The public site: all routes for readers, put together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from http import HTTPStatus
from importlib import resources
from importlib.metadata import version
from typing import Any, Final

from aiohttp import hdrs, web

from collector.influx import Influx
from collector.operations import Operation
from collector.privacy_section import PrivacySection
from collector.public.badge import badge_routes
from collector.public.downloads import Downloads
from collector.public.events import event_operations, event_routes
from collector.public.freshness import freshness_routes
from collector.public.headers import Prepared, public_headers
from collector.public.language import LANGUAGES
from collector.public.links import moved_to, path_of
from collector.public.month_pages import MONTHS, MonthPages
from collector.public.openapi import document
from collector.public.operations import about_operations, data_operations, other_operations
from collector.public.pages import ABOUT_PAGES, LONG_PAGES, Pages
from collector.public.rendering import MENU, Renderer
from collector.public.reports import Reports
from collector.public.responses import cors_routes, etag, is_not_modified
from collector.public.series import PublicSeries
from collector.settings import Settings

_CACHE_CONTROL: Final = "public, max-age=3600"


def reader_operations(settings: Settings) -> Iterator[Operation]:
    """Operations of the routes that show the series."""
    yield from data_operations()
    yield from event_operations()
    if settings.librenms:
        from collector.public.librenms import librenms_operations

        yield from librenms_operations()
    yield from other_operations()


class Site:
    """The public site: the pages and downloads that show the series, and the pages for owners.

    Without `series`, only the latter. `operations` describe all routes of the public address
    except the site's own pages for owners; `privacy` has the sections of the enabled senders on the
    privacy page.
    """

    def __init__(
        self,
        settings: Settings,
        influx: Influx,
        series: PublicSeries | None,
        *,
        operations: Iterable[Operation],
        privacy: Sequence[PrivacySection],
    ) -> None:
        self._settings = settings
        self._influx = influx
        self._series = series
        self.operations = [*operations, *about_operations()]
        self._script = (resources.files("collector.public") / "recompute.py").read_bytes()
        self._renderer = Renderer(settings.public_url, menu=ABOUT_PAGES if series is None else MENU)
        self._pages = Pages(self._renderer, settings, series, self.operations, privacy)

    def routes(self) -> list[web.RouteDef]:
        """All routes of the site, with redirects from ASL3-Usage's paths."""
        shows = [] if self._series is None else self._reader_routes(self._series)
        return [
            *self._pages.routes(),
            *cors_routes([("/openapi.json", self._openapi)]),
            *shows,
        ]

    def _reader_routes(self, series: PublicSeries) -> list[web.RouteDef]:
        settings, influx = self._settings, self._influx
        origin, k = settings.public_url, settings.k_anonymity
        librenms: list[web.RouteDef] = []
        if settings.librenms:
            from collector.public.librenms import LibreNMSDownloads

            librenms = LibreNMSDownloads(influx).routes()
        return [
            *MonthPages(self._renderer, influx, series, origin=origin, k=k).routes(),
            *Downloads(influx, series, retention_s=settings.retention_raw, k=k).routes(),
            *freshness_routes(series),
            *event_routes(series),
            *badge_routes(series),
            *Reports(series).routes(),
            *librenms,
            *cors_routes([("/recompute.py", self._recompute)]),
            *(web.get(old, moved_to(new)) for old, new in _old_addresses().items()),
        ]

    @property
    def headers(self) -> Prepared:
        """The `on_response_prepare` handler of public responses."""
        return public_headers(tuple(self._settings.trusted_proxies))

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return document(
            self.operations,
            title="AllStarLink usage",
            version=version("usage-collector"),
            description=(
                "Daily counts of AllStarLink nodes and servers. Days are UTC. Counts by a property"
                f" are published from {self._settings.k_anonymity} on; smaller ones are in `other`."
            ),
            server=self._settings.public_url,
        )

    @cached_property
    def _document(self) -> bytes:
        return json.dumps(self.openapi(), separators=(",", ":")).encode() + b"\n"

    async def _openapi(self, request: web.Request) -> web.Response:
        # Made at the first request and in a thread, since most processes are never asked for it.
        body = await asyncio.to_thread(lambda: self._document)
        return _unchanging(request, body, "application/json")

    async def _recompute(self, request: web.Request) -> web.Response:
        return _unchanging(request, self._script, "text/x-python")


def _unchanging(request: web.Request, body: bytes, kind: str) -> web.Response:
    """Respond with a body that stays the same while the process runs."""
    tag = etag(body)
    headers = {hdrs.ETAG: tag, hdrs.CACHE_CONTROL: _CACHE_CONTROL}
    if is_not_modified(request, tag):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)


def _old_addresses() -> dict[str, str]:
    """Paths with a trailing slash, as ASL3-Usage had them, and relative links to ours."""
    ours = [f"/reports/{report}" for report in ("basic", "daily", "dump")]
    for code in LANGUAGES:
        ours += [path_of(page, code) for page in ("", *LONG_PAGES, MONTHS)]
    return {f"{path}/": f"..{path[path.rindex('/') :]}" for path in ours if path != "/"}
