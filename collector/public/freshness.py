"""Freshness of the published series: `/v1/freshness`, and the same figures for the pages."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final

from aiohttp import hdrs, web
from pydantic import BaseModel, Field

from collector.public.datasets import csv_of
from collector.public.formats import Format
from collector.public.responses import LICENCE_LINK, age_headers, cors_routes, in_formats
from collector.public.series import PublicSeries, Snapshot

_DUE_AFTER: Final = timedelta(hours=2)
"""A day is complete an hour after its end, and computed within another hour."""
_CACHE_CONTROL: Final = "public, max-age=60"


class Freshness(BaseModel):
    """Newest days and hours of the series, in UTC."""

    last_final_day: date | None = Field(description="last complete day; null before there is one")
    open_day: date | None = Field(
        description="the day still being counted; null where there is none"
    )
    open_hour: datetime | None = Field(description="start of the newest hour counted")
    first_day: date | None = Field(description="first day of the series")
    days: int = Field(ge=0, description="number of days in the series")
    missing_days: int = Field(ge=0, description="days missing between the first and the last")
    late: bool = Field(description="whether a day that should be complete by now is not")
    as_of: datetime | None = Field(
        description="when these figures were read, if the series cannot be read now; else null"
    )


def freshness(snapshot: Snapshot, now: datetime) -> Freshness:
    """The freshness of a snapshot at `now`."""
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


def freshness_routes(series: PublicSeries) -> list[web.RouteDef]:
    """The routes of `/v1/freshness`, with the format in the path or in Accept."""
    return cors_routes(in_formats("/v1/freshness", partial(_show, series)))


async def _show(series: PublicSeries, request: web.Request) -> web.Response:
    """Respond with the freshness now."""
    found = freshness(await series.snapshot(), datetime.now(UTC))
    file_format = Format.of(request)
    is_csv = file_format is Format.CSV
    return web.Response(
        body=csv_of(Freshness, [found]) if is_csv else found.model_dump_json().encode() + b"\n",
        content_type=file_format.content_type,
        charset="utf-8" if is_csv else None,
        headers={
            hdrs.CACHE_CONTROL: _CACHE_CONTROL,
            hdrs.VARY: hdrs.ACCEPT,
            hdrs.LINK: LICENCE_LINK,
            **age_headers(found.as_of),
        },
    )
