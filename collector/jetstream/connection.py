"""A connection to NATS servers that is made again for ever, and the errors of its use."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any, Final, Self

import structlog
from nats import errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from collector.orders import OrdersUnavailable
from collector.settings import Settings

log = structlog.get_logger("collector.jetstream")

_CONNECT_S: Final = 5.0
_RECONNECT_WAIT_S: Final = 0.2
_CLOSE_S: Final = 2.0
_PING_S: Final = 5
"""Interval of pings; a server that answers none of the two sent last is given up for another."""
_REQUEST_S: Final = 5.0

FAILURES: Final = (errors.Error, OSError, asyncio.TimeoutError)
"""Exceptions by which the client library says that servers or JetStream did not do a thing."""


class NatsUnavailable(OrdersUnavailable):
    """No server is connected, or JetStream did not answer; the text is for operators."""


class Connection:
    """A connection to one of several servers; another takes its place when that one fails.

    Each failure ends the client, and a new one is made when it is needed. The library's own
    reconnecting is off: it can't always be cancelled, and holds what is sent meanwhile in memory.
    Leaving the context closes the connection, which is first made when it is needed. `name` is
    shown by the servers' monitoring; `patience_s` is the longest wait for a connected client.
    """

    def __init__(self, settings: Settings, *, name: str, patience_s: float = _CONNECT_S) -> None:
        self._patience_s = patience_s
        self._servers = list(settings.nats_url)
        self._options = _options(settings) | {"name": name}
        self._client: Client | None = None
        self._connecting = asyncio.Lock()
        self._why = ""
        self._is_up = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._is_up = False
        if self._client is not None:
            await _closed(self._client)

    async def client(self) -> Client:
        """Return a connected client. Raises NatsUnavailable if there is none in time."""
        if self._client is not None and self._client.is_connected:
            return self._client
        try:
            async with asyncio.timeout(self._patience_s), self._connecting:
                while self._client is None or not self._client.is_connected:
                    self._client = await self._connect()
                return self._client
        except FAILURES as error:
            why = self._why or str(error) or "no answer"
            servers = ", ".join(self._servers)
            raise NatsUnavailable(f"no NATS server of {servers} is connected: {why}") from error

    async def jetstream(self) -> JetStreamContext:
        """Return JetStream's interface of a connected client. Raises NatsUnavailable."""
        timeout = min(_REQUEST_S, self._patience_s)
        return (await self.client()).jetstream(timeout=timeout)

    async def _connect(self) -> Client | None:
        """Connect to any of the servers; None, after a pause, if none can be connected to."""
        client = Client()
        try:
            await client.connect(
                self._servers, error_cb=self._failed, closed_cb=self._ended, **self._options
            )
        except FAILURES as error:
            if not isinstance(error, errors.NoServersError):
                self._why = str(error) or self._why
            await _closed(client)
            await asyncio.sleep(_RECONNECT_WAIT_S)
            return None
        except asyncio.CancelledError:
            # The library leaves a socket open.
            await _closed(client)
            raise
        self._why = ""
        self._is_up = True
        url = client.connected_url
        log.info("connected to NATS", server=url.netloc if url is not None else "")
        return client

    async def _failed(self, error: Exception) -> None:
        self._why = str(error) or type(error).__name__

    async def _ended(self) -> None:
        if self._is_up:
            self._is_up = False
            log.warning("disconnected from NATS", why=self._why or "the connection ended")


async def _closed(client: Client) -> None:
    """Close a client whose server may be gone, which is no reason to fail."""
    with contextlib.suppress(*FAILURES):
        async with asyncio.timeout(_CLOSE_S):
            await client.close()


def _options(settings: Settings) -> dict[str, Any]:
    """Return the options of the client library by the settings."""
    found: dict[str, Any] = {
        "allow_reconnect": False,
        # Each server is tried twice.
        "max_reconnect_attempts": 1,
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
