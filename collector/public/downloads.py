"""Routes under `/v1`: every published series as JSON or CSV, streamed month by month.

Months are cached compressed until the rollup writes again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Final

import polars as pl
from aiohttp import hdrs, web

from collector.days import months
from collector.influx import Influx, InfluxError
from collector.influx.frames import read_frame
from collector.problems import Reason, Refusal
from collector.public.cache import PieceCache
from collector.public.compression import Gzip, Piece
from collector.public.datasets import (
    DATASETS,
    LICENCE,
    LICENCE_URL,
    Dataset,
    as_csv,
    as_json,
)
from collector.public.definitions import MEASURES
from collector.public.formats import Format
from collector.public.responses import (
    CORS_HEADERS,
    RESPONSE_TIMEOUT_S,
    SERIES_UNAVAILABLE,
    accepts_gzip,
    age_headers,
    cors_routes,
    etag,
    is_not_modified,
)
from collector.public.series import PublicSeries, Snapshot, UsageDay
from collector.schema import ALL, LABEL_LENGTH, NODE_DIMENSIONS

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_CONCURRENT_MONTHS: Final = 2
"""Months read and converted at a time: downloads must not slow the intake down."""
_SLICE: Final = 1 << 18
_STALL_S: Final = 30.0
"""Time limit for each further month, once a response has begun."""
_CACHE_BYTES: Final = 64 << 20
"""Five years of the largest series of a fleet of 30 000 nodes are 10 MiB of compressed CSV."""
_CHOICES: Final = {
    "measure": frozenset(item.name for item in MEASURES),
    "dimension": frozenset(NODE_DIMENSIONS),
    "within": frozenset((ALL, *NODE_DIMENSIONS)),
}
_FIVE_MINUTES: Final = "public, max-age=300"
_ONE_HOUR: Final = "public, max-age=3600"
_IMMUTABLE: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A download request: the days that exist (none if `first` is None), filters and format."""

    dataset: Dataset
    format: Format
    first: date | None
    last: date | None
    chosen: Mapping[str, str]
    days: list[UsageDay]

    @property
    def file_name(self) -> str:
        """File name for Content-Disposition."""
        span = [str(self.first)] if self.first == self.last else [str(self.first), str(self.last)]
        return "-".join(["allstarlink", self.dataset.name, *span]) + f".{self.format}"


class Downloads:
    """The routes of the downloads.

    `retention_s` is the retention of raw reports (0: for ever); `k` is a part of every entity tag.
    """

    def __init__(self, influx: Influx, series: PublicSeries, *, retention_s: int, k: int) -> None:
        self._influx = influx
        self._series = series
        self._retention_s = retention_s
        self._k = k
        self._turn = asyncio.Semaphore(_CONCURRENT_MONTHS)
        self._cache = PieceCache(_CACHE_BYTES)
        self._marks: tuple[str, dict[date, str]] = ("", {})

    def routes(self) -> list[web.RouteDef]:
        """For each series: a route for a span of days, and one for a single complete day."""
        return cors_routes(
            route
            for dataset in DATASETS
            for route in (
                (f"/v1/{dataset.path}", partial(self.span, dataset)),
                (f"/v1/{dataset.path}.{{format:json|csv}}", partial(self.span, dataset)),
                (
                    f"/v1/{dataset.path}/{{day:{_DAY.pattern}}}.{{format:json|csv}}",
                    partial(self.whole_day, dataset),
                ),
            )
        )

    async def span(self, dataset: Dataset, request: web.Request) -> web.StreamResponse:
        """Rows from `from` to `to`, both included; all rows without them."""
        deadline = _deadline()
        parameters = _parameters(dataset, request)
        if isinstance(parameters, Refusal):
            return parameters.response()
        first, last, chosen = parameters
        try:
            snapshot = await self._series.snapshot()
        except InfluxError:
            return SERIES_UNAVAILABLE.response()
        days = [day for day in snapshot.days if first <= day.day <= last]
        ends = (days[0].day, days[-1].day) if days else (None, None)
        wanted = Wanted(dataset, Format.of(request), ends[0], ends[1], chosen, days)
        return await self._send(request, wanted, snapshot, _FIVE_MINUTES, deadline)

    async def whole_day(self, dataset: Dataset, request: web.Request) -> web.StreamResponse:
        """All rows of one complete day."""
        deadline = _deadline()
        if request.query:
            return _no_such_parameter(()).response()
        try:
            day = date.fromisoformat(request.match_info["day"])
        except ValueError:
            return Refusal(Reason.NOT_FOUND, "there is no such day").response()
        try:
            snapshot = await self._series.snapshot()
        except InfluxError:
            return SERIES_UNAVAILABLE.response()
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
        headers: dict[str, str] = {
            **CORS_HEADERS,
            hdrs.ETAG: tag,
            hdrs.CACHE_CONTROL: cache_control,
            hdrs.VARY: "Accept, Accept-Encoding",
            hdrs.LINK: f'<{LICENCE_URL}>; rel="license"',
            **age_headers(snapshot.as_of),
        }
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
        pieces = self._pieces(wanted, snapshot.revision)
        parts = _gzipped(pieces) if gzip else _plain(pieces)
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

    async def _pieces(self, wanted: Wanted, revision: str) -> AsyncIterator[Piece]:
        """The body in pieces, one for each month that has rows. Raises InfluxError."""
        before, joint, after = _envelope(wanted)
        spans: Iterator[tuple[date, date]] = iter(())
        if wanted.first is not None and wanted.last is not None:
            spans = months(wanted.first, wanted.last)
        for first, last in spans:
            piece = await self._month(wanted, first, last, revision)
            if piece.length:
                if before:
                    yield Piece.of(before)
                yield piece
                before = joint
        # The header of a body without rows, and the end of any body.
        yield Piece.of((b"" if before is joint else before) + after)

    async def _month(self, wanted: Wanted, first: date, last: date, revision: str) -> Piece:
        """The rows of a month, or a part of it, from the cache or InfluxDB. Raises InfluxError."""
        chosen = tuple(sorted(wanted.chosen.items()))
        key = (wanted.dataset.path, wanted.format, first, last, chosen)
        if (cached := self._cache.get(revision, key)) is not None:
            return cached
        async with self._turn:
            # Another request may have added it meanwhile.
            if (cached := self._cache.get(revision, key)) is not None:
                return cached
            days = [day for day in wanted.days if first <= day.day <= last]
            stored = await self._read(wanted, first, last)
            piece = await asyncio.to_thread(_converted, wanted, days, stored)
        self._cache.put(revision, key, piece)
        return piece

    async def _read(self, wanted: Wanted, first: date, last: date) -> pl.DataFrame:
        dataset = wanted.dataset
        if dataset.measurement is None:
            return pl.DataFrame()
        select = dataset.select(first, last, wanted.chosen)
        return await read_frame(self._influx, select, dataset.rows)


def _deadline() -> float:
    """The time of the loop's clock by which a response must have begun."""
    return asyncio.get_running_loop().time() + RESPONSE_TIMEOUT_S


def _marks(snapshot: Snapshot) -> dict[date, str]:
    return {day.day: etag(day.day, sorted(day.fields.items())) for day in snapshot.days}


def _converted(wanted: Wanted, days: list[UsageDay], stored: pl.DataFrame) -> Piece:
    """A month's rows as a piece, empty if there are none."""
    frame: pl.DataFrame
    if wanted.dataset.measurement is None:
        frame = wanted.dataset.usage_frame(days, wanted.chosen)
    else:
        frame = wanted.dataset.table_frame(stored, (day.day for day in days if day.final))
    if frame.is_empty():
        return Piece.of(b"")
    return Piece.of(as_csv(frame) if wanted.format is Format.CSV else as_json(frame))


def _envelope(wanted: Wanted) -> tuple[bytes, bytes, bytes]:
    """The text before, between and after the rows of months."""
    if wanted.format is Format.CSV:
        return (",".join(wanted.dataset.heading()) + "\n").encode(), b"", b""
    first = "null" if wanted.first is None else f'"{wanted.first}"'
    last = "null" if wanted.last is None else f'"{wanted.last}"'
    head = (
        f'{{"series":"{wanted.dataset.path}","licence":"{LICENCE}",'
        f'"from":{first},"to":{last},"rows":[\n'
    )
    return head.encode(), b",\n", b"\n]}\n"


async def _gzipped(pieces: AsyncIterator[Piece]) -> AsyncIterator[bytes]:
    gzip, head = Gzip(), Gzip.head
    async for piece in pieces:
        yield head + gzip.add(piece)
        head = b""
    yield gzip.end()


async def _plain(pieces: AsyncIterator[Piece]) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield await asyncio.to_thread(piece.decompressed)


async def _write(response: web.StreamResponse, part: bytes) -> None:
    for start in range(0, len(part), _SLICE):
        await response.write(part[start : start + _SLICE])


def _parameters(
    dataset: Dataset, request: web.Request
) -> tuple[date, date, dict[str, str]] | Refusal:
    known = ("from", "to", *dataset.filters)
    values: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in known:
            return _no_such_parameter(known)
        if name in values:
            return Refusal(Reason.INVALID_PARAMETER, f"`{name}` is given twice")
        values[name] = value
    first = _day(values.pop("from")) if "from" in values else date.min
    last = _day(values.pop("to")) if "to" in values else date.max
    for name, day in (("from", first), ("to", last)):
        if day is None:
            return Refusal(
                Reason.INVALID_PARAMETER, f"`{name}` must be YYYY-MM-DD, today or yesterday"
            )
    if first is None or last is None or first > last:
        return Refusal(Reason.INVALID_PARAMETER, "`from` is after `to`")
    for name, value in values.items():
        if not 0 < len(value) <= LABEL_LENGTH or not value.isprintable():
            return Refusal(
                Reason.INVALID_PARAMETER,
                f"`{name}` must be 1 to {LABEL_LENGTH} printable characters",
            )
        if value not in _CHOICES.get(name, {value}):
            words = ", ".join(sorted(_CHOICES[name]))
            return Refusal(Reason.INVALID_PARAMETER, f"`{name}` must be one of {words}")
    return first, last, values


def _day(text: str) -> date | None:
    today = datetime.now(UTC).date()
    match text:
        case "today":
            return today
        case "yesterday":
            return today - timedelta(days=1)
    try:
        return date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        return None


def _no_such_parameter(known: tuple[str, ...]) -> Refusal:
    words = ", ".join(f"`{name}`" for name in known) or "none"
    return Refusal(Reason.INVALID_PARAMETER, f"known parameters here: {words}")
