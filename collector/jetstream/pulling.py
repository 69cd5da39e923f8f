"""Pulling of messages from a durable consumer, and what is said of each message to JetStream."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterable
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from collector.jetstream.connection import FAILURES, Connection, NatsUnavailable
from collector.jetstream.naming import consumer
from collector.outbox.queues import Queue

Delivered = Msg
"""A message that JetStream delivers, until it is acknowledged."""

_BATCH: Final = 2000
_BATCH_BYTES: Final = 16 << 20
_EXPIRES_S: Final = 0.25
"""Time that a request gathers messages; a busy stream fills the batch sooner."""
_GRACE_S: Final = 5.0
"""Time after which a request without an answer has failed."""
_TOO_LARGE: Final = "exceeds maxbytes"
_ENDED: Final = frozenset({"404", "408"})
_CONFLICT: Final = "409"
_HARMLESS: Final = ("batch completed", "leadership change", "server shutdown", _TOO_LARGE)


class Puller:
    """Pulls batches of a queue's messages; any number of processes share its consumer.

    The client library's own `fetch` bounds a batch by messages only, not by their bytes.
    """

    def __init__(self, connection: Connection, stream: str, queue: Queue) -> None:
        self._connection = connection
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer(queue)}"
        self._client: Client | None = None
        self._inbox = ""
        self._numbers = itertools.count()
        self._request = ""
        self._messages: list[Delivered] = []
        self._ended = asyncio.Event()
        self._refusal = ""
        self._alone = False
        """Whether the next message is larger than a batch may be."""

    async def pull(self) -> list[Delivered]:
        """Return the next messages, at most 2000 and 16 MiB; none if none came in 0.25 s.

        A message above 16 MiB comes alone. Raises NatsUnavailable.
        """
        client = await self._prepared()
        self._ended.clear()
        self._refusal = ""
        self._request = f"{self._inbox}.{next(self._numbers)}"
        batch = {"batch": 1} if self._alone else {"batch": _BATCH, "max_bytes": _BATCH_BYTES}
        asked = batch | {"expires": int(_EXPIRES_S * 1e9)}
        try:
            async with asyncio.timeout(_EXPIRES_S + _GRACE_S):
                await client.publish(self._next, json.dumps(asked).encode(), reply=self._request)
                await self._ended.wait()
        except FAILURES as error:
            if not self._messages:
                raise NatsUnavailable(str(error) or "JetStream delivers nothing") from error
        if self._refusal and not self._messages:
            raise NatsUnavailable(self._refusal)
        messages, self._messages = self._messages, []
        if messages:
            self._alone = False
        return messages

    async def acknowledge(self, messages: Iterable[Delivered]) -> None:
        """Tell JetStream that messages are stored; it deletes them. Raises NatsUnavailable."""
        await self._say(b"+ACK", messages)

    async def in_progress(self, messages: Iterable[Delivered]) -> None:
        """Tell JetStream that messages are being stored, so that no other writer gets them yet."""
        await self._say(b"+WPI", messages)

    async def give_back(self, messages: Iterable[Delivered], *, delay_s: float) -> None:
        """Have messages delivered again, to any writer, after a delay. Raises NatsUnavailable."""
        await self._say(b'-NAK {"delay": %d}' % int(delay_s * 1e9), messages)

    async def _say(self, word: bytes, messages: Iterable[Delivered]) -> None:
        client = await self._connection.client()
        try:
            # The library may wait for ever to send where the connection breaks meanwhile.
            async with asyncio.timeout(2 * _GRACE_S):
                for message in messages:
                    await client.publish(message.reply, word)
                await client.flush(timeout=int(_GRACE_S))
        except FAILURES as error:
            raise NatsUnavailable(str(error) or "JetStream does not answer") from error

    async def _prepared(self) -> Client:
        """Return the client, subscribed to what is pulled. Raises NatsUnavailable."""
        client = await self._connection.client()
        if client is not self._client:
            self._inbox = client.new_inbox()
            try:
                await client.subscribe(f"{self._inbox}.*", cb=self._arrived)
            except FAILURES as error:
                raise NatsUnavailable(str(error)) from error
            self._client = client
            self._messages = []
        return client

    async def _arrived(self, message: Msg) -> None:
        status = "" if message.data or not message.headers else message.headers.get("Status", "")
        if not status:
            self._messages.append(message)
            if len(self._messages) >= (1 if self._alone else _BATCH):
                self._ended.set()
            return
        if message.subject != self._request:
            return
        words = str((message.headers or {}).get("Description", "")).lower()
        if status == _CONFLICT and _TOO_LARGE in words and not self._messages:
            self._alone = True
        if status not in _ENDED and not any(harmless in words for harmless in _HARMLESS):
            self._refusal = f"JetStream delivers nothing: {status} {words or 'no such consumer'}"
        self._ended.set()
