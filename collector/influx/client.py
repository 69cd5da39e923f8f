"""Write, query and delete in one InfluxDB.

Through the v1 HTTP API and InfluxQL, which all of those versions have.
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
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

import aiohttp

from collector.influx.answers import Series, read_answers
from collector.influx.credentials import authorization
from collector.influx.errors import InfluxError, InfluxUnavailable, NoDatabase, failure
from collector.influx.patience import patiently
from collector.influx.policies import Policies
from collector.influx.quoting import identifier
from collector.influx.trouble import unreachable, version_of

_CONNECT_S: Final = 5
_WRITE_S: Final = 30
_QUERY_S: Final = 600
_PING_BYTES: Final = 4096
_CHUNK: Final = "20000"
"""Rows in a piece of an answer."""
_DROPPED: Final = re.compile(r"dropped=(\d+)")
_GZIP: Final = 16 + zlib.MAX_WBITS
_DETAIL_LENGTH: Final = 300


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


class Influx:
    """A client for one InfluxDB. An async context manager; connections are kept alive.

    `token` is a token of InfluxDB 2 or, where it holds a colon, `user:password` of 1.x. `ca_file`
    holds certificates (PEM) that are trusted beside the system's. With `patient`, `ping` too is
    tried again: for commands, which begin with it. Loops have pauses of their own. No proxy is
    used, whatever the environment says.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        org: str = "",
        prefix: str = "",
        ca_file: str = "",
        patient: bool = False,
    ) -> None:
        self.url = url
        self.org = org
        self.token = token
        self.ca_file = ca_file
        self._prefix = prefix
        self._is_patient = patient
        self._is_near = _is_loopback(url)
        self._session: aiohttp.ClientSession | None = None
        self.policies = Policies(self)

    async def __aenter__(self) -> Self:
        headers = {"Authorization": authorization(self.token)} if self.token else {}
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(ssl=self.tls() or True),
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

    def tls(self) -> ssl.SSLContext | None:
        """What certificates are checked by; None for http://. Raises OSError, ssl.SSLError."""
        if not self.url.startswith("https:"):
            return None
        # Heeds SSL_CERT_FILE too.
        context = ssl.create_default_context()
        if self.ca_file:
            context.load_verify_locations(self.ca_file)
        return context

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP session, between entry and exit."""
        if self._session is None:
            raise RuntimeError("Influx is used outside its context")
        return self._session

    def name(self, database: str) -> str:
        """The name in InfluxDB of a database of the schema."""
        return self._prefix + database

    async def source(self, database: str, measurement: str, *, everywhere: bool = False) -> str:
        """A measurement as it stands behind FROM, with its retention policy on InfluxDB 1.x.

        `everywhere` names it in all policies. Raises NoDatabase, InfluxUnavailable.
        """
        held = await self.policies.of(database)
        if held is None:
            return identifier(measurement)
        policies = (held.own, *(held.others if everywhere else ()))
        return ",".join(f"{identifier(one.name)}.{identifier(measurement)}" for one in policies)

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
            async with asyncio.timeout(_WRITE_S):
                held = await self.policies.of(database)
        except TimeoutError as error:
            return Unavailable(unreachable(error))
        except NoDatabase:
            # The write itself is answered so, in the words that are told apart below.
            held = None
        except InfluxError as error:
            return Unavailable(str(error))
        if held is not None:
            params["rp"] = held.own.name
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
                message = _message(await response.text(errors="replace"))
                if response.status == HTTPStatus.NOT_FOUND:
                    self.policies.forget(database)
                self.policies.forget_if_gone(database, message)
                return _refusal(response.status, message, response.headers.get("Retry-After"))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Unavailable(unreachable(error))

    async def query(self, database: str | None, *statements: str) -> list[Series]:
        """Ask with InfluxQL what reads no rows (`SHOW`, `DELETE`, …); times are ns.

        Rows are read with `collector.influx.reading`, which proves that they are all there. What
        fails for a passing reason is tried again. Raises InfluxUnavailable, InfluxError.
        """
        answers = await patiently(lambda: self.answers(database, *statements))
        return [series for answer in answers for series in answer]

    async def answers(self, database: str | None, *statements: str) -> list[list[Series]]:
        """The series that answer each statement, for as many statements as were answered.

        Asked once. Raises NoDatabase, CutShort, InfluxUnavailable, InfluxError.
        """
        async with self._ask(database, statements, "application/json") as response:
            try:
                body = await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise InfluxUnavailable(unreachable(error)) from error
        return read_answers(body)

    async def csv(self, database: str, *statements: str) -> AsyncIterator[bytes]:
        """The answers to statements as CSV, in pieces, times in ns; asked once, and not checked.

        Each answer that has rows begins with its heading, and an empty line parts two of them.
        Raises InfluxUnavailable, InfluxError.
        """
        async with self._ask(database, statements, "application/csv") as response:
            try:
                async for piece in response.content.iter_chunked(1 << 20):
                    yield piece
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise InfluxUnavailable(unreachable(error)) from error

    def _ask(self, database: str | None, statements: Sequence[str], accept: str) -> _Asked:
        # In chunks no row limit of the server applies, and an error comes with its own words.
        form = {"q": "; ".join(statements), "epoch": "ns", "chunked": "true"}
        form["chunk_size"] = _CHUNK
        if database is not None:
            form["db"] = self.name(database)
        return _Asked(self.session, f"{self.url}/query", form, accept)

    async def delete(self, database: str, measurement: str, where: str) -> None:
        """Delete the points of a measurement that `where` (InfluxQL) tells. Raises InfluxError."""
        await self.query(database, f"DELETE FROM {identifier(measurement)} WHERE {where}")

    async def ping(self) -> str:
        """The server's version.

        Raises InfluxUnavailable where there is none, NotSupported where it is 3 or later.
        """
        return await (patiently(self._ping) if self._is_patient else self._ping())

    async def _ping(self) -> str:
        try:
            async with self.session.get(f"{self.url}/ping", allow_redirects=False) as response:
                body = await response.content.read(_PING_BYTES)
                return version_of(response.status, response.headers, body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise InfluxUnavailable(unreachable(error)) from error


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
            raise InfluxUnavailable(unreachable(error)) from error
        raise failure(message, response.status)

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
