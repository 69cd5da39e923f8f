"""A small stream that keeps the last value of each key: orders, participants, and keys of messages.

It is file-backed and has as many replicas as the stream of reports. Unlike a key-value bucket of
the client library it allows that a value is overwritten on disk, which keys of messages need.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, NamedTuple

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from collector.jetstream.connection import FAILURES, Connection, NatsUnavailable
from collector.settings import Settings

_STREAM_MISSING: Final = 10059
_WRONG_LAST: Final = frozenset({10071, 10164})
_DUPLICATES_S: Final = 0.1


class Stored(NamedTuple):
    """A value: its key, its revision, which later values exceed, and the server's time of it."""

    key: str
    revision: int
    value: bytes
    at: datetime


class Conflict(Exception):
    """The key has another revision than the writer knew."""


class Board:
    """The board of a network, beside the stream of its `reports`.

    `generation` changes when what was read before may not hold. Each method raises NatsUnavailable.
    """

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection = connection
        self.name = f"{settings.nats_stream}-orders"
        self.reports = settings.nats_stream
        self._replicas = settings.nats_replicas
        self._client: Client | None = None
        self.generation = 0

    async def last(self, key: str) -> Stored | None:
        """Return the value of a key."""
        return await self._got(await self.opened(), self._subject(key))

    async def after(self, keys: str, revision: int) -> list[Stored]:
        """Return the values above a revision of all keys below the words `keys`, oldest first."""
        jetstream = await self.opened()
        found: list[Stored] = []
        subject = f"{self._subject(keys)}.>"
        while (value := await self._got(jetstream, subject, revision + 1)) is not None:
            found.append(value)
            revision = value.revision
        return found

    async def put(self, key: str, value: bytes, *, last: int | None = None) -> int:
        """Store a value and return its revision; if `last` is given, only in place of that one.

        Revision 0 stands for no value. Raises Conflict; after NatsUnavailable, it may be stored.
        """
        jetstream = await self.opened()
        headers = {"Nats-Expected-Stream": self.name}
        if last is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(last)
        try:
            return (await jetstream.publish(self._subject(key), value, headers=headers)).seq
        except FAILURES as error:
            if isinstance(error, APIError) and error.err_code in _WRONG_LAST:
                raise Conflict(key) from error
            raise self._unavailable(error) from error

    async def erase(self, revision: int) -> None:
        """Delete a value, whose bytes each server overwrites."""
        jetstream = await self.opened()
        try:
            await jetstream.delete_msg(self.name, revision)
        except APIError:
            # Another process has deleted it.
            return
        except FAILURES as error:
            raise self._unavailable(error) from error

    async def replicas(self) -> int | None:
        """Return the number of servers that hold the board; None if it is not made."""
        try:
            info = await (await self._connection.jetstream()).stream_info(self.name)
        except NotFoundError:
            return None
        except FAILURES as error:
            raise self._unavailable(error) from error
        return info.config.num_replicas

    async def adapt(self) -> None:
        """Make the board, or change it to as many replicas as the settings say."""
        jetstream = await self.opened()
        if await self.replicas() != self._replicas:
            try:
                await jetstream.update_stream(self._wanted())
            except FAILURES as error:
                raise self._unavailable(error) from error

    async def opened(self) -> JetStreamContext:
        """Return JetStream's interface, after making the board if it is missing."""
        client = await self._connection.client()
        jetstream = await self._connection.jetstream()
        if client is not self._client:
            try:
                # Several processes may do so at the same time, which JetStream allows.
                await jetstream.add_stream(self._wanted())
            except FAILURES as error:
                # There may be one with other settings, such as of fewer replicas.
                if not isinstance(error, APIError) or await self.replicas() is None:
                    raise self._unavailable(error) from error
            self._client = client
            self.generation += 1
        return jetstream

    def _wanted(self) -> StreamConfig:
        return StreamConfig(
            name=self.name,
            description="orders of owners, who has carried them out, and keys of messages",
            subjects=[f"{self.name}.>"],
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            max_msgs_per_subject=1,
            num_replicas=self._replicas,
            duplicate_window=_DUPLICATES_S,
            deny_delete=False,
        )

    def _subject(self, key: str) -> str:
        return f"{self.name}.{key}"

    async def _got(
        self, jetstream: JetStreamContext, subject: str, first: int | None = None
    ) -> Stored | None:
        """Return the value of a subject: the last, or with `first` the next from a revision on."""
        try:
            message = await jetstream.get_msg(self.name, first, subject, next=first is not None)
        except FAILURES as error:
            if isinstance(error, NotFoundError) and error.err_code != _STREAM_MISSING:
                return None
            raise self._unavailable(error) from error
        key = (message.subject or "").removeprefix(f"{self.name}.")
        at = message.time or datetime.fromtimestamp(0, UTC)
        return Stored(key, message.seq or 0, message.data or b"", at)

    def _unavailable(self, error: Exception) -> NatsUnavailable:
        # The board may be gone, which is looked at again.
        self._client = None
        words = str(getattr(error, "description", "") or error) or type(error).__name__
        return NatsUnavailable(f"orders in NATS: {words}")
