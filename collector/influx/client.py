"""Client that writes to, queries and deletes from one InfluxDB.

It uses the v1 HTTP API and InfluxQL, which all supported versions have.
https://docs.influxdata.com/influxdb/v1/tools/api/
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import ssl
import urllib.parse
import zlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import KW_ONLY, dataclass, field
from http import HTTPStatus
from typing import Final, Self

import aiohttp

from collector.influx.credentials import authorization
from collector.influx.diagnosis import VARIABLES, unreachable, version_of
from collector.influx.errors import InfluxError, InfluxUnavailable, NoDatabase, failure, passes
from collector.influx.guarded import Guard, GuardedBody, allowed
from collector.influx.policies import Policies
from collector.influx.quoting import identifier
from collector.influx.responses import Series, parse_response
from collector.influx.retry import retrying
from collector.schema import PUBLISHED

_CONNECT_S: Final = 5
_WRITE_S: Final = 30
_QUERY_S: Final = 600
_PING_BYTES: Final = 4096
CHUNK_ROWS: Final = 5000
"""Rows in one chunk of a response. InfluxDB writes one while it reads the next: of a day of 10 000
reports, chunks of 20 000 would overlap little."""
_DROPPED: Final = re.compile(r"dropped=(\d+)")
_FORM: Final = "application/x-www-form-urlencoded"
_GZIP: Final = 16 + zlib.MAX_WBITS
_DETAIL_LENGTH: Final = 300


@dataclass(frozen=True, slots=True)
class Written:
    """All lines were stored."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Some or all lines were rejected as invalid; `dropped` is their number, None if unknown."""

    reason: str
    dropped: int | None


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The request was refused because of its size."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The write failed for a passing reason; `retry_after` is in seconds, if InfluxDB gave it.

    `sent` is false where no connection was made: nothing can have been stored.
    """

    reason: str
    retry_after: float | None = None
    sent: bool = True


@dataclass(frozen=True, slots=True)
class Denied:
    """The write was refused until an operator acts: 401, 403, 404 and the like."""

    status: int
    reason: str


WriteResult = Written | Rejected | TooLarge | Unavailable | Denied


# Without a `repr`, which would show the token.
@dataclass(eq=False, repr=False)
class Influx:
    """Client for one InfluxDB, an async context manager that keeps connections alive.

    `token` is a token of InfluxDB 2 or, if it holds a colon, `user:password` of 1.x. `ca_file` has
    certificates (PEM) that are trusted in addition to the system's. `retry_ping` makes `ping` retry
    too; commands, which begin with a ping, use it, while background loops have their own retries.
    Proxies in the environment are ignored.

    `raw` is the client of another server that holds all databases but the published ones; requests
    go to the server of their database. `variables` begins the names of the settings of this server.
    """

    url: str
    _: KW_ONLY
    token: str = ""
    org: str = ""
    prefix: str = ""
    ca_file: str = ""
    retry_ping: bool = False
    raw: Influx | None = None
    variables: str = VARIABLES
    _session: aiohttp.ClientSession | None = field(default=None, init=False)
    _opened: AsyncExitStack = field(default_factory=AsyncExitStack, init=False)

    def __post_init__(self) -> None:
        self.guard: Guard = allowed
        """It is called before each write and deletion, and again when its request is sent."""
        self._is_local = _is_loopback(self.url)
        self.policies = Policies(self)

    async def __aenter__(self) -> Self:
        headers = {"Authorization": authorization(self.token)} if self.token else {}
        async with AsyncExitStack() as stack:
            self._session = await stack.enter_async_context(
                aiohttp.ClientSession(
                    headers=headers,
                    connector=aiohttp.TCPConnector(ssl=self.tls() or True),
                    timeout=aiohttp.ClientTimeout(total=_WRITE_S, sock_connect=_CONNECT_S),
                    # Cookies are ignored, so that no response influences later requests.
                    cookie_jar=aiohttp.DummyCookieJar(),
                )
            )
            if self.raw is not None:
                await stack.enter_async_context(self.raw)
            self._opened = stack.pop_all()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._opened.aclose()

    def of(self, database: str) -> Influx:
        """The client of the server that holds a database of the schema."""
        return self if self.raw is None or database in PUBLISHED else self.raw

    def servers(self) -> tuple[Influx, ...]:
        """The client of each server, that of the published series first."""
        return (self,) if self.raw is None else (self, self.raw)

    def by_server(self, databases: Iterable[str]) -> dict[Influx, list[str]]:
        """The databases of each server that holds some of them."""
        found: dict[Influx, list[str]] = {}
        for database in databases:
            found.setdefault(self.of(database), []).append(database)
        return found

    def unreachable(self, error: Exception) -> str:
        """The meaning of an error in the connection to this server, with its remedy."""
        return unreachable(error, self.variables)

    def tls(self) -> ssl.SSLContext | None:
        """The TLS context for https://, None for http://. Raises OSError, ssl.SSLError."""
        if not self.url.startswith("https:"):
            return None
        # The default context reads SSL_CERT_FILE too.
        context = ssl.create_default_context()
        if self.ca_file:
            context.load_verify_locations(self.ca_file)
        return context

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP session; RuntimeError outside the context."""
        if self._session is None:
            raise RuntimeError("Influx is used outside its context")
        return self._session

    def name(self, database: str) -> str:
        """The name in InfluxDB of a database of the schema, with the prefix."""
        return self.prefix + database

    async def source(self, database: str, measurement: str, *, everywhere: bool = False) -> str:
        """The FROM clause for a measurement, with its retention policy on InfluxDB 1.x.

        `everywhere` includes all policies. Raises NoDatabase, InfluxUnavailable.
        """
        held = await self.policies.of(database)
        if held is None:
            return identifier(measurement)
        policies = (held.own, *(held.others if everywhere else ()))
        return ",".join(f"{identifier(one.name)}.{identifier(measurement)}" for one in policies)

    async def write(self, database: str, lines: bytes) -> WriteResult:
        """Write lines (line protocol, separated by newlines, times in ns). Never raises."""
        return await self.write_packed(database, await self.packed(database, lines))

    async def packed(self, database: str, lines: bytes) -> bytes:
        """Encode lines for sending: gzip, or unchanged if InfluxDB is on this machine.

        On one machine, compression costs both sides more than it saves.
        """
        if self.of(database)._is_local:  # noqa: SLF001 - a client of the same class
            return lines
        # It takes some ms, during which the event loop must not be blocked.
        return await asyncio.to_thread(zlib.compress, lines, 1, _GZIP)

    async def write_packed(self, database: str, body: bytes) -> WriteResult:
        """Write a body returned by `packed`. Never raises."""
        if (server := self.of(database)) is not self:
            return await server.write_packed(database, body)
        encoding = {} if self._is_local else {"Content-Encoding": "gzip"}
        params = {"db": self.name(database), "precision": "ns"}
        try:
            async with asyncio.timeout(_WRITE_S):
                held = await self.policies.of(database)
        except TimeoutError as error:
            return Unavailable(self.unreachable(error), sent=False)
        except NoDatabase:
            # The write itself gets the same error, which is classified below.
            held = None
        except InfluxError as error:
            return Unavailable(str(error), sent=False)
        if held is not None:
            params["rp"] = held.own.name
        self.guard()
        try:
            async with self.session.post(
                f"{self.url}/write",
                params=params,
                data=GuardedBody(body, self.guard, content_type="text/plain; charset=utf-8"),
                headers=encoding,
                allow_redirects=False,
            ) as response:
                if response.status == HTTPStatus.NO_CONTENT:
                    return Written()
                message = _message(await response.text(errors="replace"))
                if response.status == HTTPStatus.NOT_FOUND:
                    self.policies.forget(database)
                self.policies.forget_if_gone(database, message)
                return _refusal(response.status, message, response.headers.get("Retry-After"))
        except aiohttp.ClientConnectorError as error:
            return Unavailable(self.unreachable(error), sent=False)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Unavailable(self.unreachable(error))

    async def query(self, database: str | None, *statements: str) -> list[Series]:
        """Run InfluxQL statements that read no rows (`SHOW`, `DELETE`, …); times are ns.

        Use `collector.influx.reading` for rows, since it checks that none is missing. Passing
        failures are retried. Raises InfluxUnavailable, InfluxError.
        """
        results = await retrying(lambda: self.query_each(database, *statements))
        return [series for result in results for series in result]

    async def query_each(self, database: str | None, *statements: str) -> list[list[Series]]:
        """Run statements once; return the series of each statement that was executed.

        Raises NoDatabase, CutShort, InfluxUnavailable, InfluxError.
        """
        async with self._response(database, statements, "application/json") as response:
            body = await response.read()
        return parse_response(body)

    async def csv(self, database: str, *statements: str) -> AsyncIterator[bytes]:
        """Run statements once; yield their results as CSV in chunks, times in ns, not checked.

        Each result with rows begins with a heading; an empty line separates two results. Raises
        InfluxUnavailable, InfluxError.
        """
        async with self._response(database, statements, "application/csv") as response:
            async for piece in response.content.iter_chunked(1 << 20):
                yield piece

    @asynccontextmanager
    async def _response(
        self, database: str | None, statements: Sequence[str], accept: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to a request to /query. Raises InfluxUnavailable while it is read too."""
        server = self if database is None else self.of(database)
        # The server's row limit does not apply to chunked responses, and errors keep their text.
        form = {"q": "; ".join(statements), "epoch": "ns", "chunked": "true"}
        form["chunk_size"] = str(CHUNK_ROWS)
        if database is not None:
            form["db"] = self.name(database)
        body: dict[str, str] | GuardedBody = form
        if any(statement.startswith("DELETE ") for statement in statements):
            self.guard()
            encoded = urllib.parse.urlencode(form).encode()
            body = GuardedBody(encoded, self.guard, content_type=_FORM)
        try:
            async with server.session.post(
                f"{server.url}/query",
                data=body,
                # Compressing a day's rows costs InfluxDB more than sending them.
                headers={"Accept": accept, "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=_QUERY_S, sock_connect=_CONNECT_S),
                allow_redirects=False,
            ) as response:
                if response.status == HTTPStatus.OK:
                    yield response
                    return
                message = _message(await response.text(errors="replace"))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise InfluxUnavailable(server.unreachable(error)) from error
        raise failure(message, response.status)

    async def delete(self, database: str, measurement: str, where: str) -> None:
        """Delete points of a measurement that `where` (InfluxQL) selects. Raises InfluxError."""
        await self.query(database, f"DELETE FROM {identifier(measurement)} WHERE {where}")

    async def ping(self) -> str:
        """The version of this server, which is that of the published series if there are two.

        Raises InfluxUnavailable if it cannot be reached, NotSupported for version 3 and later.
        """
        return await (retrying(self._ping) if self.retry_ping else self._ping())

    async def _ping(self) -> str:
        try:
            async with self.session.get(f"{self.url}/ping", allow_redirects=False) as response:
                body = await response.content.read(_PING_BYTES)
                return version_of(response.status, response.headers, body, self.variables)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise InfluxUnavailable(self.unreachable(error)) from error


def _is_loopback(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refusal(status: int, message: str, retry_after: str | None) -> WriteResult:
    if passes(status):
        seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
        return Unavailable(f"InfluxDB answers {status}: {message}", seconds)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return TooLarge()
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY):
        dropped = _DROPPED.search(message)
        return Rejected(message, int(dropped[1]) if dropped else None)
    return Denied(status, message)


def _message(body: str) -> str:
    """The error text of a response body, on one line, shortened."""
    try:
        answer = json.loads(body)
        words = str(answer.get("error") or answer.get("message") or body)
    except (ValueError, AttributeError):
        words = body
    return " ".join(words.split())[:_DETAIL_LENGTH]
