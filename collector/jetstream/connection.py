"""A connection to NATS servers that is made again for ever, and the errors of its use."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from nats import errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from collector.settings import Settings

log = structlog.get_logger("collector.jetstream")

_CONNECT_S: Final = 5.0
_RECONNECT_WAIT_S: Final = 0.5
_PING_S: Final = 5
"""Interval of pings; a server that answers none of the two sent last is given up for another."""
_REQUEST_S: Final = 5.0
_CANCEL_AGAIN_S: Final = 0.05

FAILURES: Final = (errors.Error, OSError, asyncio.TimeoutError)
"""Exceptions by which the client library says that servers or JetStream did not do a thing."""


class NatsUnavailable(Exception):
    """No server is connected, or JetStream did not answer; the text is for operators."""


class Connection:
    """A connection to one of several servers; another takes its place when that one fails.

    A client that the library closes for good, such as after a refused login, is replaced.
    `patience_s` is the longest wait for a connected client.
    """

    def __init__(self, settings: Settings, *, name: str, patience_s: float = _CONNECT_S) -> None:
        self._patience_s = patience_s
        self._servers = list(settings.nats_url)
        self._options = _options(settings) | {"name": name}
        self._client: Client | None = None
        self._connecting = asyncio.Lock()
        self._connected = asyncio.Event()
        self._why = ""

    async def client(self) -> Client:
        """Return a connected client. Raises NatsUnavailable if there is none in time."""
        try:
            async with asyncio.timeout(self._patience_s):
                async with self._connecting:
                    if self._client is None or self._client.is_closed:
                        self._client = await self._connect()
                client = self._client
                while not client.is_connected:
                    self._connected.clear()
                    await self._connected.wait()
                    if client.is_closed:
                        raise NatsUnavailable(self._words())
                return client
        except FAILURES as error:
            raise NatsUnavailable(self._words(error)) from error

    async def jetstream(self) -> JetStreamContext:
        """Return JetStream's interface of a connected client. Raises NatsUnavailable."""
        return (await self.client()).jetstream(timeout=_REQUEST_S)

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            # The server may be gone, which is no reason to fail a stop.
            with contextlib.suppress(*FAILURES):
                await self._client.close()
            await _end_reconnecting(self._client)

    async def _connect(self) -> Client:
        client = Client()
        try:
            await client.connect(
                self._servers,
                error_cb=self._failed,
                disconnected_cb=self._disconnected,
                reconnected_cb=self._reconnected,
                closed_cb=self._closed,
                **self._options,
            )
        except BaseException:
            # The library leaves a socket open if it is cancelled here.
            with contextlib.suppress(*FAILURES):
                await client.close()
            raise
        log.info("connected to NATS", server=_place(client))
        return client

    def _words(self, error: BaseException | None = None) -> str:
        why = self._why or (str(error) if error is not None else "") or "no answer"
        return f"no NATS server of {', '.join(self._servers)} is connected: {why}"

    async def _failed(self, error: Exception) -> None:
        self._why = str(error) or type(error).__name__

    async def _disconnected(self) -> None:
        log.warning("disconnected from NATS", why=self._why or "the connection ended")

    async def _reconnected(self) -> None:
        self._why = ""
        self._connected.set()
        log.info("connected to NATS again", server=_place(self._client))

    async def _closed(self) -> None:
        # Those who wait for the connection must look again.
        self._connected.set()


@asynccontextmanager
async def connection(
    settings: Settings, *, name: str, patience_s: float = _CONNECT_S
) -> AsyncIterator[Connection]:
    """Provide a connection that is closed at exit; it is first made when it is needed.

    `name` is shown by the servers' monitoring; `patience_s` is as in `Connection`.
    """
    opened = Connection(settings, name=name, patience_s=patience_s)
    try:
        yield opened
    finally:
        await opened.close()


async def _end_reconnecting(client: Client) -> None:
    """End the attempts to reconnect of a closed client.

    The library cancels them once, which is lost if a connection is refused at the same moment
    (`asyncio.wait_for` of Python 3.11): they would go on for ever, and the process would not end.
    """
    task: asyncio.Task[None] | None = getattr(client, "_reconnection_task", None)
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_AGAIN_S)


def _options(settings: Settings) -> dict[str, Any]:
    """Return the options of the client library by the settings."""
    found: dict[str, Any] = {
        "allow_reconnect": True,
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": _RECONNECT_WAIT_S,
        "connect_timeout": 2,
        "ping_interval": _PING_S,
        "max_outstanding_pings": 2,
    }
    token = settings.nats_token.get_secret_value()
    user, colon, password = token.partition(":")
    if colon:
        found |= {"user": user, "password": password}
    elif token:
        found["token"] = token
    if settings.nats_credentials_file:
        found["user_credentials"] = settings.nats_credentials_file
    if settings.nats_ca_file or any(url.startswith("tls://") for url in settings.nats_url):
        context = ssl.create_default_context()
        if settings.nats_ca_file:
            context.load_verify_locations(settings.nats_ca_file)
        found["tls"] = context
    return found


def _place(client: Client | None) -> str:
    url = client.connected_url if client is not None else None
    return "" if url is None else url.netloc
