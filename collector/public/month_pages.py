"""Pages of the months in numbers, their index, and their Atom feed, in every language.

Format of the feed: Atom, RFC 4287.
"""

from __future__ import annotations

import uuid
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from typing import Final

from aiohttp import web

from collector.days import month_after
from collector.influx import Influx
from collector.months.report import MonthReport
from collector.months.stored import read_report
from collector.operations import ATOM
from collector.public.language import Language
from collector.public.links import path_of, reference
from collector.public.month import MonthPage
from collector.public.rendering import Renderer
from collector.public.series import PublicSeries, Snapshot

MONTHS: Final = "month"
"""The index of the months; a month's page is below it."""
FEED: Final = f"{MONTHS}/feed.atom"
_FIVE_MINUTES: Final = "public, max-age=300"
_ONE_DAY: Final = "public, max-age=86400"
_MOST_ENTRIES: Final = 12


@dataclass(slots=True, eq=False)
class MonthPages:
    """The routes of the months. `origin` is the site's public URL, empty if not set."""

    renderer: Renderer
    influx: Influx
    series: PublicSeries
    _: KW_ONLY
    origin: str
    k: int
    _reports: tuple[str, dict[date, MonthReport]] = field(default=("", {}), init=False)

    def routes(self) -> list[web.RouteDef]:
        """The index, the feed and the months, in every language."""
        return self.renderer.routes(
            {MONTHS: self.index, FEED: self.feed, f"{MONTHS}/{{month}}": self.month}
        )

    async def index(self, lang: Language, request: web.Request) -> web.Response:
        """All months that have a page, newest first."""
        snapshot = await self.series.snapshot()
        body = partial(
            self.renderer.rendered,
            "months.html",
            MONTHS,
            lang,
            title=lang.text("month.index_title"),
            description=lang.text("month.index_lead"),
            months=snapshot.months[::-1],
            feed=path_of(FEED, lang.code),
        )
        name, as_of = f"months-{lang.code}", snapshot.as_of
        return self.renderer.respond(
            request, name, snapshot.months, body, _FIVE_MINUTES, as_of=as_of
        )

    async def month(self, lang: Language, request: web.Request) -> web.Response:
        """The page of one month, or 404 and the reason."""
        first = _month_of(request.match_info["month"])
        snapshot = await self.series.snapshot()
        known = months(snapshot)
        report = await self._report(snapshot, first) if first in known else None
        if first is None or report is None:
            return self.renderer.not_found(
                lang,
                MONTHS,
                heading=lang.text("month.missing"),
                lead=_why(lang, first, snapshot, datetime.now(UTC)),
            )
        at = known.index(first)
        neighbours = (known[at - 1] if at else None, next(iter(known[at + 1 :]), None))
        return self.renderer.respond(
            request,
            f"{first:%Y-%m}-{lang.code}",
            (report, neighbours),
            partial(self._month, lang, report, neighbours),
            _ONE_DAY,
        )

    def _month(
        self, lang: Language, report: MonthReport, neighbours: tuple[date | None, date | None]
    ) -> str:
        page = MonthPage(report, lang)
        bars = page.bars()
        return self.renderer.rendered(
            "month.html",
            f"{MONTHS}/{report.first:%Y-%m}",
            lang,
            title=lang.text("month.title", month=page.name),
            description=" ".join(page.lead()),
            month=page,
            report=report,
            bars=bars,
            bars_alt=page.bars_alt(bars) if bars else "",
            before=neighbours[0],
            after=neighbours[1],
            k=self.k,
            feed=path_of(FEED, lang.code),
        )

    async def feed(self, lang: Language, request: web.Request) -> web.Response:
        """The newest months as an Atom feed."""
        snapshot = await self.series.snapshot()
        newest = months(snapshot)[: -_MOST_ENTRIES - 1 : -1]
        found = [await self._report(snapshot, first) for first in newest]
        reports = [report for report in found if report is not None]
        return self.renderer.respond(
            request,
            f"feed-{lang.code}",
            reports,
            partial(self._feed, lang, reports),
            _FIVE_MINUTES,
            kind=ATOM,
            as_of=snapshot.as_of,
        )

    def _feed(self, lang: Language, reports: list[MonthReport]) -> str:
        at = path_of(FEED, lang.code)

        def url(path: str) -> str:
            return f"{self.origin}{path}" if self.origin else reference(path, at=at)

        entries = [
            {
                "page": MonthPage(report, lang),
                "id": self._id(path := path_of(f"{MONTHS}/{report.first:%Y-%m}", lang.code)),
                "link": url(path),
            }
            for report in reports
        ]
        return self.renderer.rendered(
            "feed.xml",
            FEED,
            lang,
            id=self._id(at),
            link=url(path_of(MONTHS, lang.code)),
            own=url(at),
            # A feed without entries has not changed since before there was one.
            updated=reports[0].made if reports else datetime(1970, 1, 1, tzinfo=UTC),
            entries=entries,
        )

    def _id(self, path: str) -> str:
        """A permanent identifier (RFC 4287, 4.2.6), different for each site and page."""
        return uuid.uuid5(uuid.NAMESPACE_URL, f"{self.origin}{path}").urn

    async def _report(self, snapshot: Snapshot, first: date) -> MonthReport | None:
        """A month's report, read once until the series change. Raises InfluxError."""
        if self._reports[0] != snapshot.revision:
            self._reports = (snapshot.revision, {})
        known = self._reports[1]
        if first not in known and (report := await read_report(self.influx, first)) is not None:
            known[first] = report
        return known.get(first)


def months(snapshot: Snapshot) -> list[date]:
    """The first days of the months that have a report, oldest first."""
    return [month.first for month in snapshot.months]


def _month_of(text: str) -> date | None:
    """The first day of a month written as `2026-10`; None for any other text."""
    try:
        return date.fromisoformat(f"{text}-01") if len(text) == len("2026-10") else None
    except ValueError:
        return None


def _why(lang: Language, first: date | None, snapshot: Snapshot, now: datetime) -> str:
    """Why there is no report of a month."""
    if first is None:
        return lang.text("month.no_such")
    name = lang.month(first)
    if first > now.date():
        return lang.text("month.future", month=name)
    following = month_after(first)
    if now.date() < following:
        return lang.text("month.open", month=name, day=lang.short_day(following))
    if any(day.final and first <= day.day < following for day in snapshot.days):
        return lang.text("month.pending", month=name)
    return lang.text("month.none", month=name)
