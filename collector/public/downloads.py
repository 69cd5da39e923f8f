"""`/v1/…`: every published series as JSON or CSV, streamed a month at a time.

A month that was made is kept, packed, until the rollup writes again.
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
from collector.public.answers import (
    ANSWER_S,
    OPEN,
    UNREADABLE,
    aged,
    etag,
    is_known,
    open_routes,
    takes_gzip,
)
from collector.public.datasets import (
    DATASETS,
    LICENCE,
    LICENCE_URL,
    Dataset,
    as_csv,
    as_json,
)
from collector.public.definitions import MEASURES
from collector.public.form import Form
from collector.public.kept import Kept
from collector.public.packing import Gzip, Piece
from collector.public.series import PublicSeries, Snapshot, UsageDay
from collector.schema import ALL, LABEL_LENGTH, NODE_DIMENSIONS

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_AT_ONCE: Final = 2
"""Months read and converted at once: downloads may not keep reports waiting."""
_SLICE: Final = 1 << 18
_STALL_S: Final = 30.0
"""How long the next month may take, once an answer has begun."""
_KEPT_BYTES: Final = 64 << 20
"""Five years of a 30 000-node fleet's largest series are 10 MiB as CSV, packed."""
_CHOICES: Final = {
    "measure": frozenset(item.name for item in MEASURES),
    "dimension": frozenset(NODE_DIMENSIONS),
    "within": frozenset((ALL, *NODE_DIMENSIONS)),
}
_SHORT: Final = "public, max-age=300"
_DAYS_OLD: Final = "public, max-age=3600"
_FOR_EVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one request wants: days that there are (none where `first` is None), rows, form."""

    dataset: Dataset
    form: Form
    first: date | None
    last: date | None
    chosen: Mapping[str, str]
    days: list[UsageDay]

    @property
    def file_name(self) -> str:
        """A name to save it under."""
        span = [str(self.first)] if self.first == self.last else [str(self.first), str(self.last)]
        return "-".join(["allstarlink", self.dataset.name, *span]) + f".{self.form}"


class Downloads:
    """The routes of the downloads. `retention_s` is that of raw reports; `k` is in the tags."""

    def __init__(self, influx: Influx, series: PublicSeries, *, retention_s: int, k: int) -> None:
        self._influx = influx
        self._series = series
        self._retention_s = retention_s
        self._k = k
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._kept = Kept(_KEPT_BYTES)
        self._marks: tuple[str, dict[date, str]] = ("", {})

    def routes(self) -> list[web.RouteDef]:
        """Each series, whole or by `from` and `to`, and a file a day."""
        return open_routes(
            route
            for dataset in DATASETS
            for route in (
                (f"/v1/{dataset.path}", partial(self.span, dataset)),
                (f"/v1/{dataset.path}.{{form:json|csv}}", partial(self.span, dataset)),
                (
                    f"/v1/{dataset.path}/{{day:{_DAY.pattern}}}.{{form:json|csv}}",
                    partial(self.whole_day, dataset),
                ),
            )
        )

    async def span(self, dataset: Dataset, request: web.Request) -> web.StreamResponse:
        """Rows from `from` to `to`, both included; without them all there are."""
        until = _until()
        asked = _asked(dataset, request)
        if isinstance(asked, Refusal):
            return asked.response()
        first, last, chosen = asked
        try:
            snapshot = await self._series.snapshot()
        except InfluxError:
            return UNREADABLE.response()
        days = [day for day in snapshot.days if first <= day.day <= last]
        ends = (days[0].day, days[-1].day) if days else (None, None)
        wanted = Wanted(dataset, Form.of(request), ends[0], ends[1], chosen, days)
        return await self._send(request, wanted, snapshot, _SHORT, until)

    async def whole_day(self, dataset: Dataset, request: web.Request) -> web.StreamResponse:
        """All rows of one complete day."""
        until = _until()
        if request.query:
            return _no_such_parameter(()).response()
        try:
            day = date.fromisoformat(request.match_info["day"])
        except ValueError:
            return Refusal(Reason.NOT_FOUND, "there is no such day").response()
        try:
            snapshot = await self._series.snapshot()
        except InfluxError:
            return UNREADABLE.response()
        days = [item for item in snapshot.days if item.day == day and item.final]
        if not days:
            return Refusal(
                Reason.NOT_FOUND, "this day is not complete, or nothing is known of it"
            ).response()
        wanted = Wanted(dataset, Form.of(request), day, day, {}, days)
        # While its raw reports are there, a day is mended if one turns up late.
        settled = datetime.now(UTC).date() - timedelta(seconds=self._retention_s, days=1)
        kept = _FOR_EVER if self._retention_s and day < settled else _DAYS_OLD
        return await self._send(request, wanted, snapshot, kept, until)

    async def _send(
        self, request: web.Request, wanted: Wanted, snapshot: Snapshot, kept: str, until: float
    ) -> web.StreamResponse:
        marks = await self._marks_of(snapshot)
        tag = etag(
            wanted.dataset.path,
            wanted.form,
            wanted.dataset.heading(),
            sorted(wanted.chosen.items()),
            self._k,
            "".join(marks[day.day] for day in wanted.days),
            # An open day may change in its tables alone.
            "" if all(day.final for day in wanted.days) else snapshot.revision,
        )
        headers: dict[str, str] = {
            **OPEN,
            hdrs.ETAG: tag,
            hdrs.CACHE_CONTROL: kept,
            hdrs.VARY: "Accept, Accept-Encoding",
            hdrs.LINK: f'<{LICENCE_URL}>; rel="license"',
            **aged(snapshot.as_of),
        }
        if is_known(request, tag):
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        if wanted.form is Form.CSV:
            headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{wanted.file_name}"'
        zipped = takes_gzip(request)
        if zipped:
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        response = web.StreamResponse(headers=headers)
        response.content_type = wanted.form.content_type
        if wanted.form is Form.CSV:
            response.charset = "utf-8"
        if request.method == hdrs.METH_HEAD:
            await response.prepare(request)
            return response
        pieces = self._pieces(wanted, snapshot.revision)
        parts = _gzipped(pieces) if zipped else _plain(pieces)
        try:
            # The first part is there before 200 is said.
            async with asyncio.timeout_at(until):
                part: bytes | None = await anext(parts)
        except (InfluxError, TimeoutError):
            return UNREADABLE.response()
        await response.prepare(request)
        try:
            while part is not None:
                await _write(response, part)
                async with asyncio.timeout(_STALL_S):
                    part = await anext(parts, None)
        except (InfluxError, TimeoutError):
            # Too late to say so in words: a broken connection is not taken for the end.
            if request.transport is not None:
                request.transport.abort()
            return response
        await response.write_eof()
        return response

    async def _marks_of(self, snapshot: Snapshot) -> dict[date, str]:
        """What tells a day from the same day with other numbers, by day."""
        made, marks = self._marks
        if made != snapshot.revision:
            marks = await asyncio.to_thread(_marks, snapshot)
            self._marks = (snapshot.revision, marks)
        return marks

    async def _pieces(self, wanted: Wanted, revision: str) -> AsyncIterator[Piece]:
        """The body in pieces, those of rows a month each. Raises InfluxError."""
        before, joint, after = _frame_of(wanted)
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
        # Whatever was not said yet: the heading of a body without rows, and the end.
        yield Piece.of((b"" if before is joint else before) + after)

    async def _month(self, wanted: Wanted, first: date, last: date, revision: str) -> Piece:
        """The rows from one day of a month to another, kept or made. Raises InfluxError."""
        chosen = tuple(sorted(wanted.chosen.items()))
        key = (wanted.dataset.path, wanted.form, first, last, chosen)
        if (kept := self._kept.get(revision, key)) is not None:
            return kept
        async with self._turn:
            # Another reader may have waited for the same.
            if (kept := self._kept.get(revision, key)) is not None:
                return kept
            days = [day for day in wanted.days if first <= day.day <= last]
            stored = await self._read(wanted, first, last)
            piece = await asyncio.to_thread(_converted, wanted, days, stored)
        self._kept.put(revision, key, piece)
        return piece

    async def _read(self, wanted: Wanted, first: date, last: date) -> pl.DataFrame:
        dataset = wanted.dataset
        if dataset.measurement is None:
            return pl.DataFrame()
        select = dataset.select(first, last, wanted.chosen)
        return await read_frame(self._influx, select, dataset.rows)


def _until() -> float:
    """The moment, of the loop's clock, by which an answer must have begun."""
    return asyncio.get_running_loop().time() + ANSWER_S


def _marks(snapshot: Snapshot) -> dict[date, str]:
    return {day.day: etag(day.day, sorted(day.fields.items())) for day in snapshot.days}


def _converted(wanted: Wanted, days: list[UsageDay], stored: pl.DataFrame) -> Piece:
    """A month's rows; of no length where there are none."""
    frame: pl.DataFrame
    if wanted.dataset.measurement is None:
        frame = wanted.dataset.usage_frame(days, wanted.chosen)
    else:
        frame = wanted.dataset.table_frame(stored, (day.day for day in days if day.final))
    if frame.is_empty():
        return Piece.of(b"")
    return Piece.of(as_csv(frame) if wanted.form is Form.CSV else as_json(frame))


def _frame_of(wanted: Wanted) -> tuple[bytes, bytes, bytes]:
    """What stands before, between and after the rows of months."""
    if wanted.form is Form.CSV:
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
        yield await asyncio.to_thread(piece.unpacked)


async def _write(response: web.StreamResponse, part: bytes) -> None:
    for start in range(0, len(part), _SLICE):
        await response.write(part[start : start + _SLICE])


def _asked(dataset: Dataset, request: web.Request) -> tuple[date, date, dict[str, str]] | Refusal:
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
                Reason.INVALID_PARAMETER, f"`{name}` must be 1 to {LABEL_LENGTH} printable letters"
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
