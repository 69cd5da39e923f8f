"""Rendering of pages: templates, style, and responses that are rendered anew only after changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property, partial
from http import HTTPStatus
from importlib import resources
from typing import Any, Final

from aiohttp import hdrs, web
from markupsafe import Markup

from collector.influx import InfluxError
from collector.lazy import jinja2
from collector.operations import HTML
from collector.public.headers import page_policy
from collector.public.language import LANGUAGES, Language, language, load_languages
from collector.public.links import path_of, reference
from collector.public.overview import Kind, ShareRow
from collector.public.responses import (
    SERIES_UNAVAILABLE,
    accepts_gzip,
    age_headers,
    etag,
    gzipped,
    is_not_modified,
)
from collector.schema import CHANNEL, REGISTRATION, UNKNOWN

MENU: Final = ("", "month", "method", "privacy", "my-data", "api")
"""Pages in the head of each page; the home page's name is empty."""
_CHANNEL_NAMES: Final = {
    "dahdi": "DAHDI",
    "simpleusb": "SimpleUSB",
    "usbradio": "USBRadio",
    "voter": "Voter",
    "usrp": "USRP",
}


PageHandler = Callable[[Language, web.Request], Awaitable[web.Response]]


@dataclass(frozen=True, slots=True)
class _CachedPage:
    """A rendered page, and the source that it was rendered from."""

    source: object
    body: bytes
    gzip_body: bytes
    tag: str


class Renderer:
    """Renders the templates of the public site.

    `origin` is its public URL, empty if not set; `menu` lists the pages in the head of each page.
    """

    def __init__(self, origin: str, menu: Sequence[str] = MENU) -> None:
        self._origin = origin
        self._menu = menu
        style = resources.files("collector.public") / "templates" / "style.css"
        self._style = "".join(map(str.strip, style.read_text("utf-8").splitlines()))
        self._policy = page_policy(self._style)
        self._cached_pages: dict[str, _CachedPage] = {}
        self._is_loaded = False

    @cached_property
    def _templates(self) -> jinja2.Environment:
        return jinja2.Environment(
            loader=jinja2.PackageLoader("collector.public"),
            undefined=jinja2.StrictUndefined,
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def routes(self, pages: Mapping[str, PageHandler]) -> list[web.RouteDef]:
        """The routes of pages, by path, in every language; 503 if the series cannot be read."""
        return [
            web.get(path_of(page, code), partial(self._readable, handler, code))
            for code in LANGUAGES
            for page, handler in pages.items()
        ]

    async def _readable(
        self, handler: PageHandler, code: str, request: web.Request
    ) -> web.Response:
        if not self._is_loaded:
            await load_languages()
            self._is_loaded = True
        lang = language(code)
        try:
            return await handler(lang, request)
        except InfluxError:
            return self._unreadable(lang)

    def rendered(self, template: str, page: str, lang: Language, **values: Any) -> str:  # noqa: ANN401 - a template takes anything
        """The text of a template; `page` is the path of the page without its language."""
        return self._templates.get_template(template).render(
            language=lang,
            languages=[language(code) for code in LANGUAGES],
            menu=self._menu,
            page=page,
            to=partial(reference, at=path_of(page, lang.code)),
            path=lambda name: path_of(name, lang.code),
            path_in=partial(path_of, page),
            origin=self._origin,
            style=Markup(self._style),  # noqa: S704 - our own file
            t=lang.text,
            n=lang.number,
            label=partial(value_label, lang),
            # Leaves space for a label above the plot of a chart, and for the days below it.
            at=lambda percent: f"{6 + percent * 0.86:.2f}",
            **values,
        )

    def respond(
        self,
        request: web.Request,
        name: str,
        source: object,
        body: Callable[[], str],
        cache_control: str,
        *,
        kind: str = HTML,
        as_of: datetime | None = None,
    ) -> web.Response:
        """Respond with a page, rendered again only if its source has changed.

        `as_of` is as in `age_headers`.
        """
        cached = self._cached_pages.get(name)
        if cached is None or cached.source != source:
            text = body().encode()
            cached = self._cached_pages[name] = _CachedPage(source, text, gzipped(text), etag(text))
        headers = {
            hdrs.ETAG: cached.tag,
            hdrs.CACHE_CONTROL: cache_control,
            hdrs.VARY: hdrs.ACCEPT_ENCODING,
            "Content-Security-Policy": self._policy,
            **age_headers(as_of),
        }
        if is_not_modified(request, cached.tag):
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        gzip = accepts_gzip(request)
        if gzip:
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        return web.Response(
            body=cached.gzip_body if gzip else cached.body,
            content_type=kind,
            charset="utf-8",
            headers=headers,
        )

    def not_found(self, lang: Language, page: str, *, heading: str, lead: str) -> web.Response:
        """Respond with 404, and a page that says why."""
        text = self.rendered("missing.html", page, lang, title=heading, description=lead, lead=lead)
        return self._error(HTTPStatus.NOT_FOUND, text, (hdrs.CACHE_CONTROL, "public, max-age=60"))

    def _unreadable(self, lang: Language) -> web.Response:
        """Respond with 503: the series cannot be read now."""
        title, lead = lang.text("error.heading"), lang.text("error.lead")
        text = self.rendered("unreadable.html", "", lang, title=title, description=lead)
        retry = (hdrs.RETRY_AFTER, str(SERIES_UNAVAILABLE.retry_after))
        return self._error(SERIES_UNAVAILABLE.status, text, retry, (hdrs.CACHE_CONTROL, "no-store"))

    def _error(self, status: HTTPStatus, text: str, *headers: tuple[str, str]) -> web.Response:
        known = {"Content-Security-Policy": self._policy} | dict(headers)
        return web.Response(status=status, text=text, content_type=HTML, headers=known)


def value_label(lang: Language, dimension: str, row: ShareRow) -> str:
    """The name of a row's value on the page."""
    match row.kind:
        case Kind.REST:
            return lang.text("value.rest", number=row.value)
        case Kind.OTHER:
            return lang.text("value.other")
        case Kind.VALUE if row.value == UNKNOWN:
            return lang.text("value.unknown")
        case Kind.VALUE if dimension == REGISTRATION.name and f"value.{row.value}" in lang:
            return lang.text(f"value.{row.value}")
        case Kind.VALUE if dimension == CHANNEL.name:
            return _CHANNEL_NAMES.get(row.value, row.value)
    return row.value


def chart_alt(
    lang: Language, first: date, last: date, nodes: Sequence[int], servers: Sequence[int]
) -> str:
    """Text alternative of a chart of nodes and servers, with their counts by day."""
    return lang.text(
        "chart.alt",
        first=lang.short_day(first),
        last=lang.short_day(last),
        nodes_first=lang.number(nodes[0]),
        nodes_last=lang.number(nodes[-1]),
        nodes_low=lang.number(min(nodes)),
        nodes_high=lang.number(max(nodes)),
        servers_first=lang.number(servers[0]),
        servers_last=lang.number(servers[-1]),
    )
