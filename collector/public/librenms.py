"""Routes under `/v1/daily/librenms`: the daily numbers of LibreNMS's installs as JSON or CSV.

They do not use the days of `asl-telemetry`, which a collector of LibreNMS alone does not have. A
request covers a bounded span, its rows are read at once and cached for five minutes.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Annotated, Final

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field

from collector.days import day_ns
from collector.influx import Influx, NoDatabase, Select, identifier, string
from collector.influx.frames import TIME, Rows, read_frame
from collector.lazy import FRAMES, load, pl
from collector.operations import Operation, Parameter, problem
from collector.public.datasets import LICENCE, Dataset, as_csv, as_json
from collector.public.formats import Format
from collector.public.operations import READ, SPAN, in_each_format
from collector.public.parameters import parse_parameters
from collector.public.responses import (
    RESPONSE_TIMEOUT_S,
    SERIES_UNAVAILABLE,
    WrongParameter,
    cors_routes,
    download_headers,
    etag,
    in_formats,
    is_not_modified,
)
from collector.schema import FINAL
from collector.schema.librenms import DAILY_LIBRENMS, DAILY_LIBRENMS_TOTALS

_DAYS: Final = 30
"""Days of a request without `from`."""
_MOST_DAYS: Final = 400
_MOST_DAYS_WHOLE: Final = 31
"""Longest span of the table of all groups."""
_CACHE_S: Final = 300
_CACHED: Final = 64
_READERS: Final = 2

NUMBERS: Final = Dataset("daily/librenms", DAILY_LIBRENMS, (), ())
TOTALS: Final = Dataset(
    "daily/librenms/totals", DAILY_LIBRENMS_TOTALS, ("group", "name", "value"), ("group",)
)
_FIELDS: Final = {
    NUMBERS: ("reports", "installs", "devices", "ports", FINAL.name),
    TOTALS: ("total", "installs"),
}
Count = Annotated[int | None, Field(ge=0)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    day: date = Field(description="the UTC day")
    installs: Count = Field(description="installs; null where it may not be shown")


class LibreNMSDay(_Row):
    """The numbers of a day."""

    reports: int = Field(ge=0, description="reports received")
    devices: Count = Field(description="devices; null where it may not be shown")
    ports: Count = Field(description="ports; null where it may not be shown")
    final: int = Field(ge=0, le=1, description="1 where the day is complete")


class LibreNMSTotal(_Row):
    """The sum of a value over the installs of a complete day."""

    group: str = Field(description="name of LibreNMS's query")
    name: str = Field(description="the column, or `all`")
    value: str = Field(description="its value, `all` or `other`")
    total: int = Field(ge=0, description="sum of the installs' totals")


class _Download(BaseModel):
    series: str = Field(description="its path below /v1")
    licence: str = Field(description="no rights reserved")


class LibreNMSDays(_Download):
    """The numbers of days."""

    rows: list[LibreNMSDay]


class LibreNMSTotals(_Download):
    """Sums by group, column and value."""

    rows: list[LibreNMSTotal]


_MODELS: Final = {NUMBERS: LibreNMSDays, TOTALS: LibreNMSTotals}
_SUMMARIES: Final = {
    NUMBERS: "LibreNMS: installs, devices and ports by day",
    TOTALS: "LibreNMS: totals by group and value, of complete days",
}


class LibreNMSDownloads:
    """The routes of the downloads."""

    def __init__(self, influx: Influx) -> None:
        self._influx = influx
        self._reading = asyncio.Semaphore(_READERS)
        self._bodies: OrderedDict[tuple[object, ...], tuple[float, str, bytes]] = OrderedDict()
        """Bodies by request, each with the time (s, monotonic) when it was made, and its tag."""

    def routes(self) -> list[web.RouteDef]:
        """Both series, in the format that the path or Accept names."""
        return cors_routes(
            route
            for dataset in (NUMBERS, TOTALS)
            for route in in_formats(f"/v1/{dataset.path}", partial(self.span, dataset))
        )

    async def span(self, dataset: Dataset, request: web.Request) -> web.Response:
        """Rows from `from` to `to`, both included."""
        first, last, chosen = parse_parameters(dataset, request.query)
        last = min(last, datetime.now(UTC).date())
        first = first if first != date.min else last - timedelta(days=_DAYS)
        most = _MOST_DAYS if chosen or dataset is NUMBERS else _MOST_DAYS_WHOLE
        if (last - first).days >= most:
            raise WrongParameter(f"`from` and `to` may span at most {most} days here")
        form = Format.of(request)
        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT_S):
                tag, body = await self._body(dataset, form, first, last, chosen.get("group"))
        except TimeoutError:
            return SERIES_UNAVAILABLE.response()
        headers = download_headers(tag, f"public, max-age={_CACHE_S}", hdrs.ACCEPT)
        if is_not_modified(request, tag):
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        return web.Response(
            body=body, content_type=form.content_type, charset="utf-8", headers=headers
        )

    async def _body(
        self, dataset: Dataset, form: Format, first: date, last: date, group: str | None
    ) -> tuple[str, bytes]:
        key = (dataset.path, form, first, last, group)
        async with self._reading:
            made, tag, body = self._bodies.get(key, (-math.inf, "", b""))
            if time.monotonic() - made < _CACHE_S:
                return tag, body
            frame = await self._read(dataset, first, last, group)
            body = await asyncio.to_thread(_written, frame, dataset, form)
            tag = etag(body)
            self._bodies[key] = (time.monotonic(), tag, body)
            self._bodies.move_to_end(key)
            if len(self._bodies) > _CACHED:
                self._bodies.popitem(last=False)
            return tag, body

    async def _read(
        self, dataset: Dataset, first: date, last: date, group: str | None
    ) -> pl.DataFrame:
        measurement, fields = dataset.measurement, _FIELDS[dataset]
        where = f"time >= {day_ns(first)} AND time < {day_ns(last + timedelta(days=1))}"
        if group is not None:
            where += f' AND "group" = {string(group)}'
        await load(FRAMES)
        types: dict[str, pl.DataType] = dict.fromkeys(fields, pl.Int64())
        # InfluxDB's CSV has a column `name` of its own, the measurement's.
        aliases = {name: f"{name}_" for name in dataset.columns}
        types |= dict.fromkeys(aliases.values(), pl.String())
        columns = [*map(identifier, fields)]
        columns += [f"{identifier(n)} AS {identifier(alias)}" for n, alias in aliases.items()]
        select = Select(
            measurement.database,
            measurement.name,
            columns,
            where,
            counted=measurement.fields[0].name,
        )
        try:
            frame = await read_frame(self._influx, select, lambda: Rows(types))
        except NoDatabase:
            frame = Rows(types).frame()
        return (
            frame.rename({alias: name for name, alias in aliases.items()})
            .select(
                pl.from_epoch(TIME, time_unit="ns").dt.date().alias("day"),
                *dataset.columns,
                *fields,
            )
            .sort("day", *dataset.columns)
        )


def _written(frame: pl.DataFrame, dataset: Dataset, form: Format) -> bytes:
    if form is Format.CSV:
        return f"{','.join(frame.columns)}\n".encode() + as_csv(frame)
    head = f'{{"series":"{dataset.path}","licence":"{LICENCE}","rows":[\n'
    return head.encode() + as_json(frame) + b"\n]}\n"


def librenms_operations() -> Iterator[Operation]:
    """OpenAPI operations of both series."""
    more = READ | {
        HTTPStatus.BAD_REQUEST: problem(
            "a parameter is unknown, has an invalid value, or the span is too long:"
            " `invalid-parameter`"
        ),
    }
    group = Parameter("group", "one of LibreNMS's queries alone", {"type": "string"})
    for dataset, model in _MODELS.items():
        yield from in_each_format(
            dataset.path,
            _SUMMARIES[dataset],
            model,
            parameters=(*SPAN, group) if dataset is TOTALS else SPAN,
            more=more,
        )
