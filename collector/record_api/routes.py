"""Request handlers of the records API.

docs/senders/telemetrics.md lists the replies.

Records are read and written page by page, so that memory does not grow with their number. If the
store fails in the middle, the connection is cut, so that no partial answer looks complete.
"""

from __future__ import annotations

import asyncio
import csv
import hmac
import io
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import structlog
from aiohttp import hdrs, web
from sqlalchemy import select

from collector.privacy import Pseudonymiser
from collector.problems import RETRY_AFTER_S, Reason, Refusal
from collector.record_api.query import Query, parse
from collector.records.errors import RecordsError
from collector.records.record import answer, from_row
from collector.records.store import RecordsStore
from collector.records.tables import RECORDS

log = structlog.get_logger("collector.records")

_FIRST_PAGE: Final = 20
_PAGE_BYTES: Final = 4 << 20
_MOST_ROWS: Final = 200
_BEARER: Final = "bearer "
COLUMNS: Final = (
    "id",
    "ts_reception",
    "ts_capture",
    "severity",
    "classification",
    "machine_id",
    "machine_type",
    "arch",
    "system_name",
    "build",
    "kernel_version",
    "record_format_version",
    "payload_format_version",
    "board_name",
    "bios_version",
    "cpu_model",
    "event_id",
    "external",
    "payload",
)
"""Columns of the CSV form, in order."""

Page = Sequence[dict[str, Any]]


class RecordsApi:
    """Routes of the records for programs with the token; an empty `token` refuses all."""

    def __init__(
        self, store: Callable[[], RecordsStore], pseudonyms: Pseudonymiser, *, token: str
    ) -> None:
        self._store = store
        self._pseudonyms = pseudonyms
        self._token = token.encode()
        self._prepared = False

    def routes(self) -> list[web.RouteDef]:
        """The list of records, and one record's payload."""
        return [
            web.get("/api/records", self.records),
            web.get(r"/api/records/{id:\d{1,18}}/payload", self.payload),
        ]

    async def records(self, request: web.Request) -> web.StreamResponse:
        """Answer with the records that the filters select."""
        query = self._refusal(request) or parse(
            request.query, time.time_ns(), self._pseudonyms.machine
        )
        if isinstance(query, Refusal):
            return _refused(query)
        pages = self._pages(query)
        try:
            first: Page = await anext(pages)
        except StopAsyncIteration:
            first = ()
        except RecordsError:
            return _refused(_UNAVAILABLE)
        as_csv = "text/csv" in request.headers.get(hdrs.ACCEPT, "")
        response = web.StreamResponse(headers={hdrs.CACHE_CONTROL: "no-store"})
        response.content_type = "text/csv" if as_csv else "application/json"
        response.charset = "utf-8"
        await response.prepare(request)
        try:
            await (_write_csv if as_csv else _write_json)(response, _after(first, pages))
        except RecordsError:
            log.error("an answer with records ended early", reason="records")
            if request.transport is not None:
                request.transport.abort()
            return response
        await response.write_eof()
        return response

    async def payload(self, request: web.Request) -> web.StreamResponse:
        """Answer with the payload of a record, byte for byte."""
        refused = self._refusal(request)
        if refused is not None:
            return _refused(refused)
        wanted = select(RECORDS.c.payload).where(RECORDS.c.id == int(request.match_info["id"]))
        try:
            rows = await self._read(wanted)
        except RecordsError:
            return _refused(_UNAVAILABLE)
        if not rows:
            return _refused(Refusal(Reason.NOT_FOUND, "no record has this id"))
        return web.Response(
            body=bytes(rows[0]["payload"]),
            content_type="application/octet-stream",
            headers={hdrs.CACHE_CONTROL: "no-store", hdrs.CONTENT_DISPOSITION: "attachment"},
        )

    def _refusal(self, request: web.Request) -> Refusal | None:
        if not self._token:
            return Refusal(Reason.FORBIDDEN, "nobody may read records: no token is configured")
        given = request.headers.get(hdrs.AUTHORIZATION, "")
        words = given[len(_BEARER) :].strip() if given.lower().startswith(_BEARER) else ""
        if not hmac.compare_digest(words.encode("utf-8", "surrogateescape"), self._token):
            return Refusal(Reason.UNAUTHORIZED, "the bearer token is missing or wrong")
        return None

    async def _pages(self, query: Query) -> AsyncIterator[Page]:
        """Yield records in pages of some MiB, newest first. Raises RecordsError."""
        left, size = query.limit, _FIRST_PAGE
        before: int | None = None
        while left:
            page = select(RECORDS).where(query.where).order_by(RECORDS.c.id.desc())
            if before is not None:
                page = page.where(RECORDS.c.id < before)
            rows = await self._read(page.limit(min(size, left)))
            if not rows:
                return
            yield [answer(from_row(row), number=row["id"]) for row in rows]
            before, left = rows[-1]["id"], left - len(rows)
            widest = sum(len(row["payload"]) for row in rows) / len(rows) + 1
            size = max(1, min(_MOST_ROWS, int(_PAGE_BYTES / widest)))

    async def _read(self, query: Any) -> Sequence[Any]:  # noqa: ANN401 - SQLAlchemy's statements
        store = self._store()
        if not self._prepared:
            await asyncio.to_thread(store.prepare)
            self._prepared = True
        return await asyncio.to_thread(store.rows, query)


_UNAVAILABLE: Final = Refusal(
    Reason.UNAVAILABLE, "the records store cannot be read now", RETRY_AFTER_S
)


async def _write_json(response: web.StreamResponse, pages: AsyncIterator[Page]) -> None:
    await response.write(b'{"records": [')
    between = b""
    async for page in pages:
        for one in page:
            await response.write(between + json.dumps(one).encode())
            between = b",\n"
    await response.write(b"]}\n")


async def _write_csv(response: web.StreamResponse, pages: AsyncIterator[Page]) -> None:
    await response.write(_csv([COLUMNS]))
    async for page in pages:
        for one in page:
            await response.write(_csv([[one[name] for name in COLUMNS]]))


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    # A lone surrogate, which CSV cannot hold, becomes a question mark; JSON can hold it.
    return text.getvalue().encode("utf-8", "replace")


async def _after(first: Page, pages: AsyncIterator[Page]) -> AsyncIterator[Page]:
    yield first
    async for page in pages:
        yield page


def _refused(refusal: Refusal) -> web.Response:
    response = web.json_response(
        {"message": refusal.detail, "reason": refusal.reason.value}, status=refusal.status
    )
    response.headers.update(refusal.headers())
    if refusal.reason is Reason.UNAUTHORIZED:
        response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    return response
