"""Sealing of messages: what NATS stores of reports can be read only while their key exists.

NATS deletes a message that is acknowledged, but its files, and the log by which servers replicate,
hold the bytes for minutes to hours more, and no request removes them earlier. Messages are
therefore encrypted with keys on the board that are replaced often. A replaced key is destroyed when
the stream holds no message of it any more: then no copy of those files can be read.

Encryption is XChaCha20-Poly1305 of libsodium, with a random nonce for each message.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

import structlog
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as decrypted
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as encrypted
from nacl.exceptions import CryptoError
from nats.js.errors import NotFoundError

from collector.jetstream.board import Board, Conflict
from collector.jetstream.connection import FAILURES, NatsUnavailable
from collector.jetstream.leases import now
from collector.jetstream.message import NotAnEntry

log = structlog.get_logger("collector.jetstream")

_KEYS: Final = "key"
_KEY_LENGTH: Final = 32
_NONCE_LENGTH: Final = 24
_SEALED: Final = b"2 "
LOOK_S: Final = 5.0
"""Age from which on a sender reads the keys again."""
VALID_S: Final = 60.0
"""Age of what a sender knows of the keys up to which an acknowledgement counts."""
_SPARED_S: Final = 1.5 * VALID_S
"""Time after which no sender uses a key that is replaced."""
REPLACED_S: Final = 3600.0
"""Age at which a key is replaced, if no erasure replaces it earlier."""
_MOST_KEYS: Final = 50
"""Number of keys at which no more are made, since none of them can be destroyed."""


class Key(NamedTuple):
    """A key, its number, which grows, and its revision on the board."""

    number: int
    secret: bytes
    revision: int


def seal(key: Key, body: bytes) -> bytes:
    """Return the sealed form of a message's body."""
    nonce = os.urandom(_NONCE_LENGTH)
    return b"%b%d\n%b%b" % (_SEALED, key.number, nonce, encrypted(body, b"", nonce, key.secret))


class Keys:
    """The keys as one process has read them."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._generation = -1
        self._read_at = -VALID_S
        self._keys: Mapping[int, Key] = {}

    async def newest(self) -> Key:
        """Return the key to seal with, which is made if there is none. Raises NatsUnavailable."""
        await self._board.opened()
        if self._board.generation != self._generation or now() - self._read_at > LOOK_S:
            await self._read()
        while not self._keys:
            await replace(self._board, {})
            await self._read()
        return self._keys[max(self._keys)]

    def counts(self) -> bool:
        """Return whether the acknowledgement of a message sealed with the newest key counts now.

        If not, the key may be destroyed already, and the message must be sent again.
        """
        return now() - self._read_at < VALID_S

    async def opened(self, body: bytes) -> bytes:
        """Return the body of a message that may be sealed. Raises NotAnEntry, NatsUnavailable."""
        if not body.startswith(_SEALED):
            return body
        head, _, rest = body.partition(b"\n")
        try:
            number = int(head.removeprefix(_SEALED))
        except ValueError as error:
            raise NotAnEntry("its key has no number") from error
        if number not in self._keys:
            await self._read()
        key = self._keys.get(number)
        if key is None:
            raise NotAnEntry("the key that it is sealed with is destroyed")
        try:
            return decrypted(rest[_NONCE_LENGTH:], b"", rest[:_NONCE_LENGTH], key.secret)
        except (CryptoError, ValueError) as error:
            raise NotAnEntry("it does not fit to the key that it is sealed with") from error

    async def _read(self) -> None:
        asked = now()
        self._keys = await read(self._board)
        self._read_at = asked
        self._generation = self._board.generation


async def read(board: Board) -> dict[int, Key]:
    """Return all keys by number. Raises NatsUnavailable."""
    found = {}
    for stored in await board.after(_KEYS, 0):
        number = stored.key.rpartition(".")[2]
        if number.isdigit() and len(stored.value) == _KEY_LENGTH:
            found[int(number)] = Key(int(number), stored.value, stored.revision)
    return found


async def replace(board: Board, keys: Mapping[int, Key]) -> None:
    """Make a key that is newer than all `keys`, unless there is one. Raises NatsUnavailable.

    Does nothing if there are many, since then the stream is not emptied and none can be destroyed.
    """
    if len(keys) >= _MOST_KEYS:
        return
    # In a conflict another process has just made it.
    with suppress(Conflict):
        await board.put(f"{_KEYS}.{max(keys, default=0) + 1}", os.urandom(_KEY_LENGTH), last=0)


class Keeper:
    """Replaces keys that are old, and destroys replaced ones; several processes may do so.

    A sender takes a message as delivered only if it knew the keys at most VALID_S ago. So a message
    of a replaced key that arrives later than that is sent again under another, and the replaced key
    is not needed once the messages up to there have left the stream of reports.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._since: dict[int, float] = {}
        """When each key was first seen here; of replaced ones, when they were seen replaced."""
        self._newest = 0
        self._last: dict[int, int] = {}
        """Number of the stream's last message when senders had ceased to use a replaced key."""

    async def look(self) -> None:
        """Replace the newest key if it is old; destroy what is replaced. Raises NatsUnavailable."""
        keys = await read(self._board)
        newest = max(keys, default=0)
        if newest != self._newest:
            self._since = dict.fromkeys(keys, now()) | {
                number: at for number, at in self._since.items() if number < self._newest
            }
            self._newest = newest
        if not keys or now() - self._since[newest] > REPLACED_S:
            await replace(self._board, keys)
        spared = [n for n in keys if n != newest and now() - self._since[n] > _SPARED_S]
        if spared:
            await self._destroy([keys[number] for number in spared])

    async def _destroy(self, keys: list[Key]) -> None:
        jetstream = await self._board.opened()
        try:
            state = (await jetstream.stream_info(self._board.reports)).state
        except NotFoundError:
            return
        except FAILURES as error:
            raise NatsUnavailable(f"the stream could not be looked at: {error}") from error
        for key in keys:
            # A stream that was made anew counts from 1 again.
            last = min(self._last.setdefault(key.number, state.last_seq), state.last_seq)
            self._last[key.number] = last
            if state.first_seq > last:
                await self._board.erase(key.revision)
                log.info("a key of messages is destroyed", key=key.number)
