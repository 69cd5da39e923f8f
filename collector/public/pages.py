"""HTML pages in every language, without scripts: home, privacy, method, my data, interface."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final

from aiohttp import web
from markupsafe import Markup, escape

from collector.influx import InfluxError
from collector.operations import Operation
from collector.privacy_section import PrivacySection
from collector.public.contexts import (
    ANY_HOST,
    integrations_context,
    method_context,
    my_data_context,
    privacy_page_context,
)
from collector.public.datasets import DATASETS
from collector.public.events import EVENTS, words
from collector.public.freshness import Freshness, freshness
from collector.public.language import LANGUAGES, Language, language
from collector.public.links import path_of
from collector.public.month_pages import FEED
from collector.public.overview import Overview, overview
from collector.public.rendering import Renderer, value_label
from collector.public.responses import age_headers
from collector.public.series import PublicSeries, Snapshot
from collector.settings import Settings

_ONE_MINUTE: Final = "public, max-age=60"
_ONE_HOUR: Final = "public, max-age=3600"
_EXAMPLE_DAYS: Final = timedelta(days=29)
_SMALL: Final = (EVENTS.path, "freshness")
"""Downloads that are not of counts."""
ABOUT_PAGES: Final = ("privacy", "my-data")
"""Pages for owners, which do not show the series."""
LONG_PAGES: Final = (*ABOUT_PAGES, "method", "integrations", "api")


_Handler = Callable[[Language, web.Request], Awaitable[web.Response]]


class Pages:
    """The routes of the pages. `operations` are listed on `/api`, `privacy` on `/privacy`.

    Without `series`, only the pages for owners are served.
    """

    def __init__(
        self,
        renderer: Renderer,
        settings: Settings,
        series: PublicSeries | None,
        operations: Sequence[Operation],
        privacy: Sequence[PrivacySection],
    ) -> None:
        self._renderer = renderer
        self._settings = settings
        self._series = series
        self._operations = operations
        self._privacy = privacy

    def routes(self) -> list[web.RouteDef]:
        """Every page in every language."""
        pages: dict[str, _Handler] = {"privacy": self.privacy, "my-data": self.my_data}
        if self._series is not None:
            pages |= {
                "": partial(self.home, self._series),
                "method": self.method,
                "integrations": self.integrations,
                "api": self.api,
            }
        return [
            web.get(path_of(page, code), partial(handler, language(code)))
            for code in LANGUAGES
            for page, handler in pages.items()
        ]

    async def home(
        self, series: PublicSeries, lang: Language, request: web.Request
    ) -> web.Response:
        """The home page with the numbers."""
        try:
            snapshot = await series.snapshot()
        except InfluxError:
            return self._renderer.unreadable(lang)
        fresh = freshness(snapshot, datetime.now(UTC))

        def body() -> str:
            return self._home(lang, snapshot, overview(snapshot), fresh)

        response = self._renderer.respond(
            request, f"home-{lang.code}", (snapshot.revision, fresh), body, _ONE_MINUTE
        )
        response.headers.update(age_headers(snapshot.as_of))
        return response

    def _home(self, lang: Language, snapshot: Snapshot, shown: Overview, fresh: Freshness) -> str:
        recent = fresh.last_final_day or datetime.now(UTC).date()
        since = f"?from={recent - _EXAMPLE_DAYS}"
        downloads = [
            {"path": item.path, "short": "" if item is DATASETS[0] else since} for item in DATASETS
        ]
        return self._renderer.rendered(
            "home.html",
            "",
            lang,
            title=lang.text("home.title"),
            description=lang.text("home.description"),
            shown=shown,
            fresh=fresh,
            open_day=snapshot.open_day,
            months=[month.first for month in snapshot.months[:-4:-1]],
            feed=path_of(FEED, lang.code),
            alt=_chart_alt(shown, lang),
            # Leaves space for a label above the plot, and for the months below it.
            at=lambda percent: f"{6 + percent * 0.86:.2f}",
            words=lambda event: words(event, lang),
            label=partial(value_label, lang),
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

    async def integrations(self, lang: Language, request: web.Request) -> web.Response:
        """The page on other programs that read the numbers."""
        today = datetime.now(UTC).date()
        values = integrations_context(self._settings.public_url or ANY_HOST, lang, today)
        return self._prose(
            request, lang, "integrations", lambda: lang.html("integrations", values), today
        )

    def _prose(
        self,
        request: web.Request,
        lang: Language,
        page: str,
        html: Callable[[], Markup],
        source: object = None,
    ) -> web.Response:
        def body() -> str:
            return self._renderer.rendered(
                "prose.html",
                page,
                lang,
                title=lang.text(f"{page}.title"),
                description=lang.text(f"{page}.description"),
                body=html(),
            )

        return self._renderer.respond(request, f"{page}-{lang.code}", source, body, _ONE_HOUR)

    async def api(self, lang: Language, request: web.Request) -> web.Response:
        """The page on the HTTP interface, made from the OpenAPI operations."""
        today = datetime.now(UTC).date()
        body = partial(self._api, lang, today)
        return self._renderer.respond(request, f"api-{lang.code}", today, body, _ONE_HOUR)

    def _api(self, lang: Language, today: date) -> str:
        variants: dict[str, list[Operation]] = {}
        members: dict[str, list[Operation]] = {}
        for item in self._operations:
            variants.setdefault(item.variant_of or item.name, []).append(item)
            members.setdefault(item.group, []).append(item)
        groups = [
            (group, [variants[item.name] for item in found if not item.variant_of])
            for group, found in members.items()
        ]
        return self._renderer.rendered(
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
