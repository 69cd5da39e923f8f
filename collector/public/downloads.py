"""Routes under `/v1`: every published series as JSON or CSV, streamed month by month."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from collector.influx import Influx, InfluxError
from collector.problems import Reason, Refusal
from collector.public.datasets import DATASETS, Dataset
from collector.public.download_bodies import Bodies, Wanted, gzipped, plain
from collector.public.formats import Format
from collector.public.parameters import DAY_PATTERN, no_such_parameter, parse_parameters
from collector.public.responses import (
    RESPONSE_TIMEOUT_S,
    SERIES_UNAVAILABLE,
    Handler,
    accepts_gzip,
    cors_routes,
    download_headers,
    etag,
    in_formats,
    is_not_modified,
)
from collector.public.series import PublicSeries, Snapshot

_SLICE: Final = 1 << 18
_STALL_S: Final = 30.0
"""Time limit for each further month, once a response has begun."""
_FIVE_MINUTES: Final = "public, max-age=300"
_ONE_HOUR: Final = "public, max-age=3600"
_IMMUTABLE: Final = "public, max-age=31536000, immutable"


class Downloads:
    """The routes of the downloads.

    `retention_s` is the retention of raw reports (0: for ever); `k` is a part of every entity tag.
    """

    def __init__(self, influx: Influx, series: PublicSeries, *, retention_s: int, k: int) -> None:
        self._series = series
        self._retention_s = retention_s
        self._k = k
        self._bodies = Bodies(influx)
        self._marks: tuple[str, dict[date, str]] = ("", {})

    def routes(self) -> list[web.RouteDef]:
        """For each series: a route for a span of days, and one for a single complete day."""
        routes: list[tuple[str, Handler]] = []
        for dataset in DATASETS:
            path = f"/v1/{dataset.path}"
            routes += in_formats(path, partial(self.span, dataset))
            day = f"{path}/{{day:{DAY_PATTERN}}}.{{format:json|csv}}"
            routes.append((day, partial(self.whole_day, dataset)))
        return cors_routes(routes)

    async def span(self, dataset: Dataset, request: web.Request) -> web.StreamResponse:
        """Rows from `from` to `to`, both included; all rows without them."""
        deadline = _deadline()
        first, last, chosen = parse_parameters(dataset, request.query)
        snapshot = await self._series.snapshot()
        days = [day for day in snapshot.days if first <= day.day <= last]
        ends = (days[0].day, days[-1].day) if days else (None, None)
        wanted = Wanted(dataset, Format.of(request), ends[0], ends[1], chosen, days)
        return await self._send(request, wanted, snapshot, _FIVE_MINUTES, deadline)

    async def whole_day(self, dataset: Dataset, request: web.Request) -> web.StreamResponse:
        """All rows of one complete day."""
        deadline = _deadline()
        if request.query:
            raise no_such_parameter(())
        try:
            day = date.fromisoformat(request.match_info["day"])
        except ValueError:
            return Refusal(Reason.NOT_FOUND, "there is no such day").response()
        snapshot = await self._series.snapshot()
        days = [item for item in snapshot.days if item.day == day and item.final]
        if not days:
            return Refusal(Reason.NOT_FOUND, "this day is not complete, or has no data").response()
        wanted = Wanted(dataset, Format.of(request), day, day, {}, days)
        # Until its raw reports expire, a late report makes a day be computed again.
        settled = datetime.now(UTC).date() - timedelta(seconds=self._retention_s, days=1)
        cache_control = _IMMUTABLE if self._retention_s and day < settled else _ONE_HOUR
        return await self._send(request, wanted, snapshot, cache_control, deadline)

    async def _send(
        self,
        request: web.Request,
        wanted: Wanted,
        snapshot: Snapshot,
        cache_control: str,
        deadline: float,
    ) -> web.StreamResponse:
        marks = await self._marks_of(snapshot)
        tag = etag(
            wanted.dataset.path,
            wanted.format,
            wanted.dataset.heading(),
            sorted(wanted.chosen.items()),
            self._k,
            "".join(marks[day.day] for day in wanted.days),
            # The tables of an open day may change while its fields stay the same.
            "" if all(day.final for day in wanted.days) else snapshot.revision,
        )
        headers = download_headers(tag, cache_control, "Accept, Accept-Encoding", snapshot.as_of)
        if is_not_modified(request, tag):
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        if wanted.format is Format.CSV:
            headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{wanted.file_name}"'
        gzip = accepts_gzip(request)
        if gzip:
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        response = web.StreamResponse(headers=headers)
        response.content_type = wanted.format.content_type
        if wanted.format is Format.CSV:
            response.charset = "utf-8"
        if request.method == hdrs.METH_HEAD:
            await response.prepare(request)
            return response
        pieces = self._bodies.pieces(wanted, snapshot.revision)
        parts = gzipped(pieces) if gzip else plain(pieces)
        try:
            # The first part must exist before the status is sent.
            async with asyncio.timeout_at(deadline):
                part: bytes | None = await anext(parts)
        except (InfluxError, TimeoutError):
            return SERIES_UNAVAILABLE.response()
        await response.prepare(request)
        try:
            while part is not None:
                await _write(response, part)
                async with asyncio.timeout(_STALL_S):
                    part = await anext(parts, None)
        except (InfluxError, TimeoutError):
            # The status has been sent: only a broken connection shows that rows are missing.
            if request.transport is not None:
                request.transport.abort()
            return response
        await response.write_eof()
        return response

    async def _marks_of(self, snapshot: Snapshot) -> dict[date, str]:
        """A digest of each day's fields, by day."""
        made, marks = self._marks
        if made != snapshot.revision:
            marks = await asyncio.to_thread(_marks, snapshot)
            self._marks = (snapshot.revision, marks)
        return marks


def _deadline() -> float:
    """The time of the loop's clock by which a response must have begun."""
    return asyncio.get_running_loop().time() + RESPONSE_TIMEOUT_S


def _marks(snapshot: Snapshot) -> dict[date, str]:
    return {day.day: etag(day.day, sorted(day.fields.items())) for day in snapshot.days}


async def _write(response: web.StreamResponse, part: bytes) -> None:
    for start in range(0, len(part), _SLICE):
        await response.write(part[start : start + _SLICE])
