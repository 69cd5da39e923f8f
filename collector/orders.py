"""Orders of owners, which every receiver, writer and publisher carries out. Pure.

An order is kept in JetStream under a keyed digest of the server's pseudonym, never under the
pseudonym itself. A participant is a process that carries orders out; it states up to which one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any, Final, Self

from collector.privacy import OwnerMark, ServerPseudonym

SALT_LENGTH = 16
"""Length of the digests' key in bytes; the key is made together with the stream of orders."""
PUBLISHER: Final = "publish"
"""Name of the role, and of its command, that publishes and holds no reports on their way."""


class OrdersUnavailable(Exception):
    """Orders can be neither given nor read now; the text is for operators."""


def digest_of(server: ServerPseudonym, salt: bytes) -> str:
    """Return the digest of a pseudonym: keyed BLAKE2b (RFC 7693), 32 hexadecimal digits."""
    return blake2b(server.encode("ascii"), key=salt, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class ErasureOrder:
    """Order to erase a server's reports received up to `until_ns` (ns since 1970).

    `mark` is the owner's mark; `asked_ns` the time of the request, which a repeated order shares.
    """

    digest: str
    mark: OwnerMark
    until_ns: int
    asked_ns: int

    @classmethod
    def read(cls, digest: str, text: bytes) -> Self:
        """Read an order from the JSON of `written`. Raises ValueError."""
        said = _object(text)
        return cls(
            digest, OwnerMark(str(said["mark"])), int(said["until_ns"]), int(said["asked_ns"])
        )

    def written(self) -> bytes:
        """Return the order as JSON, without its digest."""
        said = asdict(self)
        del said["digest"]
        return json.dumps(said).encode()

    def after(self, earlier: ErasureOrder | None) -> ErasureOrder:
        """Return the order that takes the place of an earlier one: it erases what either does."""
        if earlier is None or earlier.until_ns <= self.until_ns:
            return self
        return ErasureOrder(self.digest, self.mark, earlier.until_ns, self.asked_ns)


@dataclass(frozen=True, slots=True)
class Cleared:
    """Counts of the rows that a participant deleted from its outboxes for one order."""

    waiting: int = 0
    copies: int = 0
    dead_letters: int = 0

    def __add__(self, other: Cleared) -> Cleared:
        return Cleared(
            self.waiting + other.waiting,
            self.copies + other.copies,
            self.dead_letters + other.dead_letters,
        )

    def __bool__(self) -> bool:
        return bool(self.waiting or self.copies or self.dead_letters)


@dataclass(frozen=True, slots=True)
class Participant:
    """A process that carries out orders, as it states itself.

    `name` is its role and its id, which owners may see; `host` the machine's name. It has carried
    out all orders up to revision `upto`; `is_stopped` if it does not run. `cleared` has what it
    deleted for the last ones, by the order's digest and request (`asked_ns`).
    """

    name: str
    role: str
    host: str = ""
    upto: int = 0
    cleared: Mapping[tuple[str, int], Cleared] = field(default_factory=dict)
    is_stopped: bool = False

    @classmethod
    def read(cls, name: str, text: bytes) -> Self:
        """Read a participant from the JSON of `written`. Raises ValueError."""
        said = _object(text)
        cleared = {
            (str(digest), int(asked)): Cleared(*map(int, counts))
            for digest, asked, *counts in said.get("cleared", [])
        }
        stopped = bool(said.get("stopped", False))
        host = str(said.get("host", ""))
        return cls(name, str(said["role"]), host, int(said["upto"]), cleared, stopped)

    def written(self) -> bytes:
        """Return the participant as JSON, without its name."""
        rows = [
            [digest, asked, one.waiting, one.copies, one.dead_letters]
            for (digest, asked), one in self.cleared.items()
        ]
        said = {
            "role": self.role,
            "host": self.host,
            "upto": self.upto,
            "cleared": rows,
            "stopped": self.is_stopped,
        }
        return json.dumps(said).encode()

    @property
    def id(self) -> str:
        """The id of the participant in its state directory."""
        return self.name.rpartition("-")[2]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Result of an order outside of the process that gave it.

    `stream` counts the messages deleted from the stream, `cleared` the rows deleted by each
    participant that had some. `carried_out` are all participants that have carried the order out,
    `not_yet` those that have not, with the time (ISO) at which each was last heard of.
    """

    stream: int = 0
    cleared: Mapping[str, Cleared] = field(default_factory=dict)
    carried_out: tuple[str, ...] = ()
    not_yet: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """The number of rows and messages that were deleted elsewhere."""
        total = sum(self.cleared.values(), Cleared())
        return self.stream + total.waiting + total.copies + total.dead_letters


class Tombstones:
    """The times up to which servers' reports are erased, by digest."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._until: dict[str, int] = {}

    def take(self, orders: Iterable[ErasureOrder]) -> None:
        """Add orders."""
        for one in orders:
            self._until[one.digest] = max(one.until_ns, self._until.get(one.digest, 0))

    def covers(self, server: ServerPseudonym | None, received_ns: int) -> bool:
        """Return whether a report of a server is erased: no hop may pass it on."""
        if not self._until or not server:
            return False
        return received_ns <= self._until.get(digest_of(server, self._salt), 0)


@dataclass(frozen=True, slots=True)
class QuarantineOrder:
    """Order to mark reports of a batch in quarantine that are not stored yet.

    They are those of the servers with these digests from `start_ns` to before `until_ns`.
    """

    batch: int
    start_ns: int
    until_ns: int
    digests: tuple[str, ...]

    @classmethod
    def read(cls, text: bytes) -> Self:
        """Read an order from the JSON of `written`. Raises ValueError."""
        said = _object(text)
        digests = tuple(map(str, said["digests"]))
        return cls(int(said["batch"]), int(said["start_ns"]), int(said["until_ns"]), digests)

    def written(self) -> bytes:
        """Return the order as JSON."""
        return json.dumps(asdict(self)).encode()


class Quarantined:
    """The batches in quarantine that reports on their way belong to."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._orders: dict[str, QuarantineOrder] = {}
        self._of: dict[str, list[QuarantineOrder]] = {}

    def take(self, orders: Mapping[str, QuarantineOrder]) -> None:
        """Add orders by their keys, in place of earlier ones."""
        if not orders:
            return
        self._orders.update(orders)
        self._of = {}
        for order in self._orders.values():
            for digest in order.digests:
                self._of.setdefault(digest, []).append(order)

    def batch_of(self, server: ServerPseudonym | None, at_ns: int) -> int | None:
        """Return the number of the batch that a server's report of a time is in, if any."""
        if not self._of or not server:
            return None
        found = self._of.get(digest_of(server, self._salt), ())
        return next((one.batch for one in found if one.start_ns <= at_ns < one.until_ns), None)


def _object(text: bytes) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except ValueError as error:
        raise ValueError("not in the form of an order") from error
    if not isinstance(said, dict):
        raise ValueError("not in the form of an order")  # noqa: TRY004 - data, not an argument
    return said
