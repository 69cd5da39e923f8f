"""Publishing of many messages to a stream at once, each acknowledged by the stream."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from nats.aio.client import Client
from nats.aio.msg import Msg

from collector.jetstream.connection import FAILURES, Connection, NatsUnavailable

_WINDOW: Final = 1000
"""Most messages that wait for their acknowledgements at a time."""
_ACK_S: Final = 5.0
"""Longest wait for any acknowledgement while some are outstanding."""
_WINDOW_S: Final = 30.0
_LOOK_S: Final = 0.2
_STREAM_FULL: Final = frozenset({10023, 10047, 10077})
"""JetStream's error codes of a stream, and of a server or account, without space left."""


class Message(NamedTuple):
    """A message to be stored: its subject, its id (`Nats-Msg-Id`) and its body."""

    subject: str
    id: str
    body: bytes


class NotStored(Exception):
    """The stream refused a message; `full` says that it has no space. The text is the server's."""

    def __init__(self, words: str, *, full: bool) -> None:
        super().__init__(words)
        self.full = full


class Publisher:
    """Publishes messages to a stream and waits for every acknowledgement.

    The client library's own `publish_async` never completes a message that the stream refuses.
    """

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection = connection
        self._stream = stream
        self._client: Client | None = None
        self._inbox = ""
        self._numbers = itertools.count()
        self._waiting: dict[str, asyncio.Future[bool]] = {}

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return when the stream has stored all messages, or had stored them before.

        Raises NotStored if it refuses one, NatsUnavailable; either way some may be stored.
        """
        client = await self._prepared()
        try:
            for first in range(0, len(messages), _WINDOW):
                # The library may wait for ever to send where the connection breaks meanwhile.
                async with asyncio.timeout(_WINDOW_S):
                    await self._publish(client, messages[first : first + _WINDOW])
        except FAILURES as error:
            words = str(error) or "JetStream does not acknowledge messages"
            raise NatsUnavailable(words) from error
        finally:
            self._waiting.clear()

    async def _prepared(self) -> Client:
        """Return the client, subscribed to the replies. Raises NatsUnavailable."""
        client = await self._connection.client()
        if client is not self._client:
            self._inbox = client.new_inbox()
            try:
                await client.subscribe(f"{self._inbox}.*", cb=self._replied)
            except FAILURES as error:
                raise NatsUnavailable(str(error)) from error
            self._client = client
        return client

    async def _publish(self, client: Client, messages: Sequence[Message]) -> None:
        loop = asyncio.get_running_loop()
        futures = []
        for message in messages:
            number = str(next(self._numbers))
            future = loop.create_future()
            self._waiting[number] = future
            futures.append(future)
            await client.publish(
                message.subject,
                message.body,
                reply=f"{self._inbox}.{number}",
                headers={"Nats-Msg-Id": message.id, "Nats-Expected-Stream": self._stream},
            )
        left = set(futures)
        heard = time.monotonic()
        while left:
            done, left = await asyncio.wait(
                left, timeout=_LOOK_S, return_when=asyncio.FIRST_EXCEPTION
            )
            errors = [error for future in done if (error := future.exception()) is not None]
            heard = time.monotonic() if done else heard
            if not errors and left and (client.is_closed or time.monotonic() - heard > _ACK_S):
                errors = [NatsUnavailable("JetStream does not acknowledge messages")]
            if errors:
                for future in left:
                    future.cancel()
                raise errors[0]

    async def _replied(self, reply: Msg) -> None:
        future = self._waiting.pop(reply.subject.rpartition(".")[2], None)
        if future is None or future.done():
            return
        error = _refusal(reply)
        if error is None:
            future.set_result(True)
        else:
            future.set_exception(error)


def _refusal(reply: Msg) -> Exception | None:
    """Return the error that a reply tells, None if it acknowledges the message."""
    if not reply.data:
        # A server answers so for a subject that no stream listens to.
        return NatsUnavailable("no stream takes the messages: run `collector provision`")
    try:
        found = json.loads(reply.data)
    except ValueError:
        return NatsUnavailable("JetStream gave a reply that is not JSON")
    error = found.get("error")
    if error is not None:
        words = str(error.get("description", "refused"))
        return NotStored(words, full=error.get("err_code") in _STREAM_FULL)
    if "seq" not in found:
        return NatsUnavailable("JetStream gave a reply without a sequence number")
    return None
