"""Write, query and delete in one InfluxDB.

Through the v1 HTTP API and InfluxQL, which all of those versions have.
https://docs.influxdata.com/influxdb/v1/tools/api/
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import urllib.parse
import zlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from collector import schema

_CONNECT_S: Final = 5
_WRITE_S: Final = 30
_QUERY_S: Final = 600
_DROPPED: Final = re.compile(r"dropped=(\d+)")
_GZIP: Final = 16 + zlib.MAX_WBITS
_DETAIL_LENGTH: Final = 300


class InfluxError(Exception):
    """InfluxDB cannot be asked, or refused; the text says which."""


class InfluxUnavailable(InfluxError):
    """InfluxDB cannot be reached, or is not able to answer now."""


@dataclass(frozen=True, slots=True)
class Written:
    """Everything was stored."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Some or all lines were refused for what they hold. `dropped`: how many, where it was said."""

    reason: str
    dropped: int | None


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The request was refused for its size."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Nothing may have been stored; the same may succeed later (`retry_after` s where said)."""

    reason: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """Nothing was stored, nor will be until an operator acts: 401, 403, 404 and the like."""

    status: int
    reason: str


WriteResult = Written | Rejected | TooLarge | Unavailable | Denied


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer: its tags, the columns' names, and rows (times in ns)."""

    name: str
    tags: dict[str, str]
    columns: list[str]
    values: list[list[Any]]


def string(text: str) -> str:
    """A string literal of InfluxQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


def identifier(text: str) -> str:
    """A quoted identifier of InfluxQL."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


class Influx:
    """A client for one InfluxDB. An async context manager; connections are kept alive.

    `token` is a token of InfluxDB 2 or, where it holds a colon, `user:password` of 1.x.
    """

    def __init__(self, url: str, *, token: str = "", org: str = "", prefix: str = "") -> None:
        self.url = url
        self.org = org
        self.token = token
        self._prefix = prefix
        self._is_near = _is_loopback(url)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        user, colon, password = self.token.partition(":")
        headers = {}
        if colon:
            headers["Authorization"] = aiohttp.encode_basic_auth(user, password)
        elif self.token:
            headers["Authorization"] = f"Token {self.token}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=_WRITE_S, sock_connect=_CONNECT_S),
            # An answer to a request with a token must not lead elsewhere.
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP session, between entry and exit."""
        if self._session is None:
            raise RuntimeError("Influx is used outside its context")
        return self._session

    def name(self, database: str) -> str:
        """The name in InfluxDB of a database of the schema."""
        return self._prefix + database

    async def write(self, database: str, lines: bytes) -> WriteResult:
        """Send lines (line protocol, newlines between, times in ns). Never raises."""
        return await self.write_packed(database, await self.packed(lines))

    async def packed(self, lines: bytes) -> bytes:
        """Lines as they are sent: compressed, unless InfluxDB is on this machine.

        There it costs both sides more than it saves.
        """
        if self._is_near:
            return lines
        # It takes some ms, for which the loop must not stand still.
        return await asyncio.to_thread(_gzip, lines)

    async def write_packed(self, database: str, body: bytes) -> WriteResult:
        """Send what `packed` gave. Never raises."""
        encoding = {} if self._is_near else {"Content-Encoding": "gzip"}
        params = {"db": self.name(database), "precision": "ns"}
        try:
            async with self.session.post(
                f"{self.url}/write",
                params=params,
                data=body,
                headers={"Content-Type": "text/plain; charset=utf-8", **encoding},
                allow_redirects=False,
            ) as response:
                if response.status == HTTPStatus.NO_CONTENT:
                    return Written()
                return _refusal(
                    response.status,
                    _message(await response.text(errors="replace")),
                    response.headers.get("Retry-After"),
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Unavailable(_unreachable(error))

    async def query(self, database: str | None, statement: str) -> list[Series]:
        """Ask with InfluxQL; times are ns. Raises InfluxUnavailable, InfluxError."""
        async with self._ask(database, statement, "application/json", {}) as response:
            text = await response.text()
        try:
            answer = json.loads(text)
            # InfluxDB 2 answers a DELETE with `{}`.
            results: list[dict[str, Any]] = [] if answer == {} else answer["results"]
        except (ValueError, KeyError, TypeError) as error:
            raise InfluxError(f"an answer that is not InfluxDB's: {text[:100]!r}") from error
        for result in results:
            if "error" in result:
                raise InfluxError(str(result["error"]))
        return [
            Series(
                found.get("name", ""),
                found.get("tags", {}),
                found["columns"],
                found.get("values", []),
            )
            for result in results
            for found in result.get("series", [])
        ]

    async def stream_csv(self, database: str, statement: str) -> AsyncIterator[bytes]:
        """The answer to one SELECT as CSV, in pieces: a heading, then `name,tags,time,…` in ns.

        Nothing at all where there are no rows. Raises InfluxUnavailable, InfluxError.
        """
        chunks = {"chunked": "true", "chunk_size": "20000"}
        async with self._ask(database, statement, "application/csv", chunks) as response:
            try:
                async for piece in response.content.iter_chunked(1 << 20):
                    yield piece
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise InfluxUnavailable(_unreachable(error)) from error

    def _ask(
        self, database: str | None, statement: str, accept: str, more: dict[str, str]
    ) -> _Asked:
        form = {"q": statement, "epoch": "ns"} | more
        if database is not None:
            form["db"] = self.name(database)
        return _Asked(self.session, f"{self.url}/query", form, accept)

    async def delete(self, database: str, measurement: str, where: str) -> None:
        """Delete the points of a measurement that `where` (InfluxQL) tells. Raises InfluxError."""
        await self.query(database, f"DELETE FROM {identifier(measurement)} WHERE {where}")

    async def ping(self) -> str:
        """The server's version. Raises InfluxUnavailable where there is none."""
        try:
            async with self.session.get(f"{self.url}/ping", allow_redirects=False) as response:
                if response.status != HTTPStatus.NO_CONTENT:
                    raise InfluxUnavailable(f"/ping answers {response.status}, not 204")
                return response.headers.get("X-Influxdb-Version", "unknown").removeprefix("v")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise InfluxUnavailable(_unreachable(error)) from error


class _Asked:
    """One request to /query, as a context whose entry has checked the status."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, form: dict[str, str], accept: str
    ) -> None:
        self._request = session.post(
            url,
            data=form,
            # A day's rows cost InfluxDB more to compress than to send.
            headers={"Accept": accept, "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=_QUERY_S, sock_connect=_CONNECT_S),
            allow_redirects=False,
        )

    async def __aenter__(self) -> aiohttp.ClientResponse:
        try:
            response = await self._request.__aenter__()
            if response.status == HTTPStatus.OK:
                return response
            message = _message(await response.text(errors="replace"))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise InfluxUnavailable(_unreachable(error)) from error
        words = f"InfluxDB answers {response.status}: {message}"
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise InfluxUnavailable(words)
        raise InfluxError(words)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._request.__aexit__(kind, error, trace)


def _gzip(lines: bytes) -> bytes:
    packer = zlib.compressobj(1, wbits=_GZIP)
    return packer.compress(lines) + packer.flush()


def _is_loopback(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refusal(status: int, message: str, retry_after: str | None) -> WriteResult:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in (
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.REQUEST_TIMEOUT,
    ):
        seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
        return Unavailable(f"InfluxDB answers {status}: {message}", seconds)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return TooLarge()
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY):
        dropped = _DROPPED.search(message)
        return Rejected(message, int(dropped[1]) if dropped else None)
    return Denied(status, message)


def _message(body: str) -> str:
    """The words of an error's body, on one line, shortened."""
    try:
        answer = json.loads(body)
        words = str(answer.get("error") or answer.get("message") or body)
    except (ValueError, AttributeError):
        words = body
    return " ".join(words.split())[:_DETAIL_LENGTH]


def _unreachable(error: Exception) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "InfluxDB does not answer in time"
    return f"InfluxDB cannot be reached ({type(error).__name__})"


async def day_csv(
    influx: Influx, measurement: schema.Measurement, columns: Iterable[str], start: int, end: int
) -> bytes:
    """Rows of a raw measurement with `start` <= time < `end` (ns), oldest first, as CSV."""
    chosen = ",".join(identifier(column) for column in columns)
    statement = (
        f"SELECT {chosen} FROM {identifier(measurement.name)}"
        f" WHERE time >= {start} AND time < {end}"
    )
    return b"".join([piece async for piece in influx.stream_csv(measurement.database, statement)])
