"""Events of the series: their words in each language, and `/v1/events` as JSON or CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from functools import partial
from http import HTTPStatus
from typing import Final, Literal

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field

from collector.events.event import SOFTWARE, Event, Kind
from collector.operations import Operation, Parameter
from collector.public.datasets import LICENCE, Dataset, csv_of
from collector.public.formats import Format
from collector.public.language import Language
from collector.public.operations import READ, SPAN, WRONG_PARAMETER, in_each_format
from collector.public.parameters import parse_parameters
from collector.public.responses import (
    accepts_gzip,
    cors_routes,
    download_headers,
    etag,
    gzipped,
    in_formats,
    is_not_modified,
)
from collector.public.series import PublicSeries
from collector.schema import EVENT

EVENTS: Final = Dataset(
    "events", EVENT, tuple(tag.name for tag in EVENT.tags), (EVENT.tags[0].name,)
)
_HOURS_A_DAY: Final = 24
_FIVE_MINUTES: Final = "public, max-age=300"
_KIND, _SUBJECT, _ITEM = (tag.meaning for tag in EVENT.tags)
_TEXT, _HOURS, _EXPECTED = (field.meaning for field in EVENT.fields)


def words(event: Event, language: Language) -> str:
    """An event in a language; a note is as its operator wrote it."""
    match event.kind:
        case Kind.NOTE:
            return event.text
        case Kind.VERSION:
            software = SOFTWARE.get(event.subject, event.subject)
            return language.text("event.version", software=software, version=event.item)
        case Kind.PACKAGE:
            return language.text("event.package", package=event.subject, version=event.item)
        case Kind.OUTAGE:
            expected = language.number(event.expected)
            if event.begin.hour + event.hours <= _HOURS_A_DAY:
                begin, end = event.begin.hour, event.begin.hour + event.hours
                return language.text(
                    "event.outage", begin=f"{begin:02}:00", end=f"{end:02}:00", expected=expected
                )
            return language.text(
                "event.outage_days",
                begin=language.moment(event.begin),
                end=language.moment(event.end),
                expected=expected,
            )


class EventRow(BaseModel):
    """An event of a day."""

    model_config = ConfigDict(extra="forbid")

    day: date = Field(description="the UTC day; of an outage the one on which it began")
    kind: Kind = Field(description=_KIND)
    subject: str = Field(description=_SUBJECT)
    item: str = Field(description=_ITEM)
    text: str = Field(description=_TEXT)
    hours: int | None = Field(ge=1, description=f"{_HOURS}: null")
    expected: int | None = Field(ge=1, description=f"{_EXPECTED}: null")


class EventDownload(BaseModel):
    """Events of a span of days, oldest first."""

    series: Literal["events"] = "events"
    licence: Literal["CC0-1.0"] = Field(default=LICENCE, description="no rights reserved")
    rows: list[EventRow]


def event_routes(series: PublicSeries) -> list[web.RouteDef]:
    """The routes of `/v1/events`, with the format in the path or in Accept."""
    return cors_routes(in_formats(f"/v1/{EVENTS.path}", partial(_span, series)))


async def _span(series: PublicSeries, request: web.Request) -> web.Response:
    """The events from `from` to `to`, both included; all of them without these."""
    first, last, chosen = parse_parameters(EVENTS, request.query)
    snapshot = await series.snapshot()
    kind = chosen.get(EVENTS.filters[0])
    rows = [
        _row(event)
        for event in snapshot.events
        if first <= event.day <= last and kind in (None, event.kind)
    ]
    form = Format.of(request)
    body = csv_of(EventRow, rows) if form is Format.CSV else _json(rows)
    tag = etag(body)
    headers = download_headers(tag, _FIVE_MINUTES, "Accept, Accept-Encoding", snapshot.as_of)
    if is_not_modified(request, tag):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    if form is Format.CSV:
        headers[hdrs.CONTENT_DISPOSITION] = 'attachment; filename="allstarlink-events.csv"'
    if accepts_gzip(request):
        headers[hdrs.CONTENT_ENCODING] = "gzip"
        body = gzipped(body)
    return web.Response(
        body=body,
        content_type=form.content_type,
        charset="utf-8" if form is Format.CSV else None,
        headers=headers,
    )


def _row(event: Event) -> EventRow:
    return EventRow(
        day=event.day,
        kind=event.kind,
        subject=event.subject,
        item=event.item,
        text=event.text,
        hours=event.hours or None,
        expected=event.expected or None,
    )


def _json(rows: Sequence[EventRow]) -> bytes:
    return EventDownload(rows=list(rows)).model_dump_json().encode() + b"\n"


def event_operations() -> Iterator[Operation]:
    """OpenAPI operations of `/v1/events`."""
    kinds = {"type": "string", "enum": [kind.value for kind in Kind]}
    kind = Parameter(EVENTS.filters[0], "only events of this kind", kinds)
    yield from in_each_format(
        EVENTS.path,
        "Events of days: new versions, outages of the intake, operators' notes",
        EventDownload,
        parameters=(*SPAN, kind),
        more=READ | {HTTPStatus.BAD_REQUEST: WRONG_PARAMETER},
    )
