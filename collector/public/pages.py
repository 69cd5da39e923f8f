"""HTML pages in every language, without scripts: home, privacy, method, my data, interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Final

from aiohttp import web
from markupsafe import Markup, escape

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
from collector.public.language import Language
from collector.public.links import path_of
from collector.public.month_pages import FEED
from collector.public.overview import Overview, overview
from collector.public.rendering import PageHandler, Renderer, chart_alt
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


_Context = Callable[[Language], Mapping[str, Any]]
"""Makes the values of a text's placeholders."""


@dataclass(slots=True, eq=False)
class Pages:
    """The routes of the pages. `operations` are listed on `/api`, `privacy` on `/privacy`.

    Without `series`, only the pages for owners are served.
    """

    renderer: Renderer
    settings: Settings
    series: PublicSeries | None
    operations: Sequence[Operation]
    privacy: Sequence[PrivacySection]

    def routes(self) -> list[web.RouteDef]:
        """Every page in every language."""
        prose: dict[str, _Context] = {
            "privacy": lambda lang: privacy_page_context(self.settings, lang, self.privacy),
            "my-data": partial(my_data_context, self.settings),
        }
        pages: dict[str, PageHandler] = {}
        if self.series is not None:
            host = self.settings.public_url or ANY_HOST
            prose |= {
                "method": partial(method_context, self.settings),
                "integrations": lambda lang: integrations_context(host, lang, _today()),
            }
            pages = {"": partial(self.home, self.series), "api": self.api}
        pages |= {page: partial(self.prose, page, context) for page, context in prose.items()}
        return self.renderer.routes(pages)

    async def home(
        self, series: PublicSeries, lang: Language, request: web.Request
    ) -> web.Response:
        """The home page with the numbers."""
        snapshot = await series.snapshot()
        fresh = freshness(snapshot, datetime.now(UTC))
        body = partial(self._home, lang, snapshot, fresh)
        source = (snapshot.revision, fresh)
        return self.renderer.respond(
            request, f"home-{lang.code}", source, body, _ONE_MINUTE, as_of=snapshot.as_of
        )

    def _home(self, lang: Language, snapshot: Snapshot, fresh: Freshness) -> str:
        shown = overview(snapshot)
        recent = fresh.last_final_day or _today()
        since = f"?from={recent - _EXAMPLE_DAYS}"
        downloads = [
            {"path": item.path, "short": "" if item is DATASETS[0] else since} for item in DATASETS
        ]
        return self.renderer.rendered(
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
            alt=_alt_of(shown, lang),
            words=lambda event: words(event, lang),
            k=self.settings.k_anonymity,
            grafana=self.settings.grafana_url,
            downloads=[*downloads, *({"path": path, "short": ""} for path in _SMALL)],
        )

    async def prose(
        self, page: str, context: _Context, lang: Language, request: web.Request
    ) -> web.Response:
        """A page of text, with the values of the settings and of the day in it."""

        def body() -> str:
            return self.renderer.rendered(
                "prose.html",
                page,
                lang,
                title=lang.text(f"{page}.title"),
                description=lang.text(f"{page}.description"),
                body=lang.html(page, context(lang)),
            )

        return self.renderer.respond(request, f"{page}-{lang.code}", _today(), body, _ONE_HOUR)

    async def api(self, lang: Language, request: web.Request) -> web.Response:
        """The page on the HTTP interface, made from the OpenAPI operations."""
        today = _today()
        body = partial(self._api, lang, today)
        return self.renderer.respond(request, f"api-{lang.code}", today, body, _ONE_HOUR)

    def _api(self, lang: Language, today: date) -> str:
        variants: dict[str, list[Operation]] = {}
        members: dict[str, list[Operation]] = {}
        for item in self.operations:
            variants.setdefault(item.variant_of or item.name, []).append(item)
            members.setdefault(item.group, []).append(item)
        groups = [
            (group, [variants[item.name] for item in found if not item.variant_of])
            for group, found in members.items()
        ]
        return self.renderer.rendered(
            "api.html",
            "api",
            lang,
            title=lang.text("api.title"),
            description=lang.text("api.description"),
            groups=groups,
            headings={dataset.name: dataset.heading() for dataset in DATASETS},
            code=code_markup,
            host=self.settings.public_url or ANY_HOST,
            raw=lang.duration(self.settings.retention_raw),
            example_from=today - _EXAMPLE_DAYS,
        )


def _alt_of(shown: Overview, lang: Language) -> str:
    if shown.chart is None:
        return ""
    nodes = [day.fields["nodes"] for day in shown.charted]
    servers = [day.fields.get("servers", 0) for day in shown.charted]
    return chart_alt(lang, shown.chart.first, shown.chart.last, nodes, servers)


def _today() -> date:
    return datetime.now(UTC).date()


def code_markup(text: str) -> Markup:
    """A text as HTML, with text between backticks as code."""
    parts = [
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(text.split("`"))
    ]
    return Markup("").join(parts)
