"""HTML pages in every language, without scripts: home, privacy, method, my data, interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from http import HTTPStatus
from itertools import groupby
from typing import Any, Final

from aiohttp import hdrs, web
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from collector.influx import InfluxError
from collector.operations import Operation
from collector.privacy_section import PrivacySection
from collector.public.contexts import (
    ANY_HOST,
    method_context,
    my_data_context,
    privacy_page_context,
)
from collector.public.datasets import DATASETS
from collector.public.events import EVENTS, words
from collector.public.freshness import Freshness, freshness
from collector.public.headers import page_policy
from collector.public.language import LANGUAGES, Language, language
from collector.public.links import path_of, reference
from collector.public.overview import Kind, Overview, ShareRow, overview
from collector.public.responses import (
    SERIES_UNAVAILABLE,
    accepts_gzip,
    age_headers,
    etag,
    gzipped,
    is_not_modified,
)
from collector.public.series import PublicSeries
from collector.schema import CHANNEL, REGISTRATION, UNKNOWN
from collector.settings import Settings

_ONE_MINUTE: Final = "public, max-age=60"
_ONE_HOUR: Final = "public, max-age=3600"
_EXAMPLE_DAYS: Final = timedelta(days=29)
_CHANNEL_NAMES: Final = {
    "dahdi": "DAHDI",
    "simpleusb": "SimpleUSB",
    "usbradio": "USBRadio",
    "voter": "Voter",
    "usrp": "USRP",
}
_SMALL: Final = (EVENTS.path, "freshness")
"""Downloads that are not of counts."""
LONG_PAGES: Final = ("privacy", "method", "my-data", "api")


@dataclass(frozen=True, slots=True)
class _CachedPage:
    """A rendered page, and the source that it was rendered from."""

    source: object
    body: bytes
    gzip_body: bytes
    tag: str


class Pages:
    """The routes of the pages. `operations` are listed on `/api`, `privacy` on `/privacy`."""

    def __init__(
        self,
        settings: Settings,
        series: PublicSeries,
        operations: Sequence[Operation],
        privacy: Sequence[PrivacySection],
    ) -> None:
        self._settings = settings
        self._series = series
        self._operations = operations
        self._privacy = privacy
        self._templates = Environment(
            loader=PackageLoader("collector.public"),
            undefined=StrictUndefined,
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._style = _minified(self._source("style.css"))
        self._policy = page_policy(self._style)
        self._cached_pages: dict[str, _CachedPage] = {}

    def routes(self) -> list[web.RouteDef]:
        """Every page in every language."""
        found = []
        for code in LANGUAGES:
            lang = language(code)
            found.append(web.get(path_of("", code), partial(self.home, lang)))
            for page, handler in (
                ("privacy", self.privacy),
                ("method", self.method),
                ("my-data", self.my_data),
                ("api", self.api),
            ):
                found.append(web.get(path_of(page, code), partial(handler, lang)))
        return found

    async def home(self, lang: Language, request: web.Request) -> web.Response:
        """The home page with the numbers."""
        try:
            snapshot = await self._series.snapshot()
        except InfluxError:
            return self._unreadable(lang)
        fresh = freshness(snapshot, datetime.now(UTC))

        def body() -> str:
            return self._home(lang, overview(snapshot), fresh, snapshot.open_day)

        response = self._respond(
            request, f"home-{lang.code}", (snapshot.revision, fresh), body, _ONE_MINUTE
        )
        response.headers.update(age_headers(snapshot.as_of))
        return response

    def _home(self, lang: Language, shown: Overview, fresh: Freshness, open_day: object) -> str:
        recent = fresh.last_final_day or datetime.now(UTC).date()
        since = f"?from={recent - _EXAMPLE_DAYS}"
        downloads = [
            {"path": item.path, "short": "" if item is DATASETS[0] else since} for item in DATASETS
        ]
        return self._rendered(
            "home.html",
            "",
            lang,
            title=lang.text("home.title"),
            description=lang.text("home.description"),
            shown=shown,
            fresh=fresh,
            open_day=open_day,
            alt=_chart_alt(shown, lang),
            # Leaves space for a label above the plot, and for the months below it.
            at=lambda percent: f"{6 + percent * 0.86:.2f}",
            label=partial(_label, lang),
            words=lambda event: words(event, lang),
            k=self._settings.k_anonymity,
            grafana=self._settings.grafana_url,
            downloads=[*downloads, *({"path": path, "short": ""} for path in _SMALL)],
        )

    async def privacy(self, lang: Language, request: web.Request) -> web.Response:
        """The privacy page, with the values of the settings and the enabled senders."""
        values = privacy_page_context(self._settings, lang, self._privacy)
        return self._prose(request, lang, "privacy", lambda: lang.html("privacy", values))

    async def method(self, lang: Language, request: web.Request) -> web.Response:
        """The page that explains each number, from the schema."""
        values = method_context(self._settings, lang)
        return self._prose(request, lang, "method", lambda: lang.html("method", values))

    async def my_data(self, lang: Language, request: web.Request) -> web.Response:
        """The page on what the owner of a server can do."""
        values = my_data_context(self._settings, lang)
        return self._prose(request, lang, "my-data", lambda: lang.html("my-data", values))

    def _prose(
        self, request: web.Request, lang: Language, page: str, html: Callable[[], Markup]
    ) -> web.Response:
        def body() -> str:
            return self._rendered(
                "prose.html",
                page,
                lang,
                title=lang.text(f"{page}.title"),
                description=lang.text(f"{page}.description"),
                body=html(),
            )

        return self._respond(request, f"{page}-{lang.code}", None, body, _ONE_HOUR)

    async def api(self, lang: Language, request: web.Request) -> web.Response:
        """The page on the HTTP interface, made from the OpenAPI operations."""
        today = datetime.now(UTC).date()
        body = partial(self._api, lang, today)
        return self._respond(request, f"api-{lang.code}", today, body, _ONE_HOUR)

    def _api(self, lang: Language, today: date) -> str:
        variants: dict[str, list[Operation]] = {}
        for item in self._operations:
            variants.setdefault(item.variant_of or item.name, []).append(item)
        groups = [
            (group, [variants[item.name] for item in members if not item.variant_of])
            for group, members in groupby(self._operations, key=lambda item: item.group)
        ]
        return self._rendered(
            "api.html",
            "api",
            lang,
            title=lang.text("api.title"),
            description=lang.text("api.description"),
            groups=groups,
            headings={dataset.name: dataset.heading() for dataset in DATASETS},
            code=code_markup,
            host=self._settings.public_url or ANY_HOST,
            raw=lang.duration(self._settings.retention_raw),
            example_from=today - _EXAMPLE_DAYS,
        )

    def _rendered(self, template: str, page: str, lang: Language, **values: Any) -> str:  # noqa: ANN401 - a template takes anything
        return self._templates.get_template(template).render(
            language=lang,
            languages=[language(code) for code in LANGUAGES],
            page=page,
            to=partial(reference, at=path_of(page, lang.code)),
            path=lambda name: path_of(name, lang.code),
            path_in=partial(path_of, page),
            origin=self._settings.public_url,
            style=Markup(self._style),  # noqa: S704 - our own file
            t=lang.text,
            n=lang.number,
            **values,
        )

    def _respond(
        self,
        request: web.Request,
        name: str,
        source: object,
        body: Callable[[], str],
        cache_control: str,
    ) -> web.Response:
        """Respond with a page, rendered again only if its source has changed."""
        cached = self._cached_pages.get(name)
        if cached is None or cached.source != source:
            text = body().encode()
            cached = self._cached_pages[name] = _CachedPage(source, text, gzipped(text), etag(text))
        headers = {
            hdrs.ETAG: cached.tag,
            hdrs.CACHE_CONTROL: cache_control,
            hdrs.VARY: hdrs.ACCEPT_ENCODING,
            "Content-Security-Policy": self._policy,
        }
        if is_not_modified(request, cached.tag):
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        gzip = accepts_gzip(request)
        if gzip:
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        return web.Response(
            body=cached.gzip_body if gzip else cached.body,
            content_type="text/html",
            charset="utf-8",
            headers=headers,
        )

    def _unreadable(self, lang: Language) -> web.Response:
        text = self._rendered(
            "unreadable.html",
            "",
            lang,
            title=lang.text("error.heading"),
            description=lang.text("error.lead"),
        )
        return web.Response(
            status=SERIES_UNAVAILABLE.status,
            text=text,
            content_type="text/html",
            headers={
                "Content-Security-Policy": self._policy,
                hdrs.RETRY_AFTER: str(SERIES_UNAVAILABLE.retry_after),
                hdrs.CACHE_CONTROL: "no-store",
            },
        )

    def _source(self, name: str) -> str:
        loader = self._templates.loader
        if loader is None:
            raise TypeError("the templates have no loader")
        return loader.get_source(self._templates, name)[0]


def _label(lang: Language, dimension: str, row: ShareRow) -> str:
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


def _chart_alt(shown: Overview, lang: Language) -> str:
    """Text alternative of the chart."""
    if shown.chart is None:
        return ""
    nodes = [day.fields["nodes"] for day in shown.charted]
    servers = [day.fields.get("servers", 0) for day in shown.charted]
    return lang.text(
        "chart.alt",
        first=lang.short_day(shown.chart.first),
        last=lang.short_day(shown.chart.last),
        nodes_first=lang.number(nodes[0]),
        nodes_last=lang.number(nodes[-1]),
        nodes_low=lang.number(min(nodes)),
        nodes_high=lang.number(max(nodes)),
        servers_first=lang.number(servers[0]),
        servers_last=lang.number(servers[-1]),
    )


def code_markup(text: str) -> Markup:
    """A text as HTML, with text between backticks as code."""
    parts = [
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(text.split("`"))
    ]
    return Markup("").join(parts)


def _minified(style: str) -> str:
    return "".join(line.strip() for line in style.splitlines())
