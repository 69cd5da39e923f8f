"""How far the published series reach: `/v1/freshness`, and the same for the pages."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from typing import Final

from aiohttp import hdrs, web
from pydantic import BaseModel, Field

from collector.influx import InfluxError
from collector.public.answers import UNREADABLE, aged, open_routes
from collector.public.datasets import LICENCE_URL
from collector.public.form import Form
from collector.public.series import PublicSeries, Snapshot

_DUE_AFTER: Final = timedelta(hours=2)
"""A day is complete an hour after its end, and computed within another."""
_KEPT: Final = "public, max-age=60"


class Freshness(BaseModel):
    """How far the series reach. Days and hours are UTC."""

    last_final_day: date | None = Field(description="last complete day; null before there is one")
    open_day: date | None = Field(
        description="the day still being counted; null where there is none"
    )
    open_hour: datetime | None = Field(description="start of the newest hour counted")
    first_day: date | None = Field(description="first day of the series")
    days: int = Field(ge=0, description="days that there are")
    missing_days: int = Field(ge=0, description="days between the first and the last that lack")
    late: bool = Field(description="whether the last day that should be complete is not")
    as_of: datetime | None = Field(
        description="when all this was read, where the series cannot be read now; else null"
    )


def freshness(snapshot: Snapshot, now: datetime) -> Freshness:
    """What is to be said of a snapshot at a moment."""
    final, days = snapshot.last_final, snapshot.days
    due = (now - _DUE_AFTER).date() - timedelta(days=1)
    return Freshness(
        last_final_day=final.day if final else None,
        open_day=snapshot.open_day.day if snapshot.open_day else None,
        open_hour=snapshot.last_hour,
        first_day=days[0].day if days else None,
        days=len(days),
        missing_days=(days[-1].day - days[0].day).days + 1 - len(days) if days else 0,
        late=final is None or final.day < due,
        as_of=snapshot.as_of.replace(microsecond=0) if snapshot.as_of else None,
    )


class FreshnessRoutes:
    """The routes of `/v1/freshness`."""

    def __init__(self, series: PublicSeries) -> None:
        self._series = series

    def routes(self) -> list[web.RouteDef]:
        """JSON or CSV, by the address or by Accept."""
        return open_routes(
            [("/v1/freshness", self.show), ("/v1/freshness.{form:json|csv}", self.show)]
        )

    async def show(self, request: web.Request) -> web.Response:
        """The freshness now."""
        try:
            found = freshness(await self._series.snapshot(), datetime.now(UTC))
        except InfluxError:
            return UNREADABLE.response()
        form = Form.of(request)
        body = found.model_dump_json() + "\n" if form is Form.JSON else _csv(found)
        return web.Response(
            text=body,
            content_type=form.content_type,
            charset="utf-8" if form is Form.CSV else None,
            headers={
                hdrs.CACHE_CONTROL: _KEPT,
                hdrs.VARY: hdrs.ACCEPT,
                hdrs.LINK: f'<{LICENCE_URL}>; rel="license"',
                **aged(found.as_of),
            },
        )


def _csv(found: Freshness) -> str:
    values = found.model_dump(mode="json")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(values)
    writer.writerow(str(v).lower() if isinstance(v, bool) else v for v in values.values())
    return text.getvalue()
