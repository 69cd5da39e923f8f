"""AMI's wire format: splits bytes into messages and parses the headers that are wanted. Pure.

Format: a banner line, then messages of `Name: value` lines that end with CR LF, each message with
an empty line after it (https://docs.asterisk.org/Configuration/Interfaces/Asterisk-Manager-Interface-AMI/).
Values may contain bare CR or LF, control characters and invalid UTF-8.

Events and headers that are not wanted are dropped as bytes: passwords, numbers and names that
nothing needs are never decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from collector.intakes.ami.actions import Refusal, refusal_of
from collector.intakes.ami.message import Message
from collector.intakes.ami.state.wanted import RESPONSE

END: Final = b"\r\n\r\n"
MAX_MESSAGE: Final = 64 << 10
"""Largest message read, in bytes. Asterisk's own events have at most about 9 KB."""
MAX_VALUE: Final = 512
"""Longest value read, in bytes; longer values are cut."""
_MAX_BANNER: Final = 256
_BANNER: Final = b"Asterisk Call Manager/"
_MAX_DIGITS: Final = 18
_ANSWER: Final = ("Response", "Message", "EventList", "Challenge", *RESPONSE)
"""Headers of an answer's first message that are read."""


class Drop(StrEnum):
    """Reasons why a message is dropped or missing, as in the metric's label."""

    TOO_LONG = "too-long"
    """It is larger than `MAX_MESSAGE`."""
    MALFORMED = "malformed"
    """It begins with neither `Event` nor `Response`."""
    NO_PRIVILEGE = "no-privilege"
    """It is an event without `Privilege`, so perhaps forged, and not an item of an answer."""
    FOREIGN = "foreign"
    """It answers an action that this connection did not send."""
    LIST_TOO_LONG = "list-too-long"
    """It is an item of an answer that has too many."""
    UNANSWERED = "unanswered"
    """The answer to a question of this connection did not arrive, although events did."""
    FAILED = "failed"
    """Handling it failed because of an error in this program."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a list that this connection asked for; None if not wanted, or after the last."""

    number: int
    message: Message | None
    complete: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """First message of the answer to action `number` of this connection, parsed and as bytes."""

    number: int
    message: Message
    raw: bytes

    @property
    def refusal(self) -> Refusal | None:
        """The kind of error that it tells; None if it tells none."""
        good = self.message.get("Response") == "Success"
        return None if good else refusal_of(self.message.get("Message"))


class NotAmi(Exception):
    """The other end does not speak AMI: its first line is not Asterisk's banner."""


class Splitter:
    """Splits a connection's bytes into messages; buffers at most `MAX_MESSAGE` bytes and one read.

    A longer message is skipped and counted in `too_long`. `greeted` is whether the banner was read,
    `pending` what was read of an incomplete message.
    """

    def __init__(self) -> None:
        self.pending = bytearray()
        self.greeted = False
        self._skipping = False
        self.too_long = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Messages that `data` completes, without their empty lines. Raises NotAmi."""
        looked = max(0, len(self.pending) - len(END) + 1)
        self.pending += data
        if not self.greeted:
            if not self._banner():
                return []
            looked = 0
        if self.pending.find(END, looked) < 0:
            self._shorten()
            return []
        *whole, rest = bytes(self.pending).split(END)
        self.pending = bytearray(rest)
        if self._skipping:
            self._skipping = False
            del whole[0]
        messages = [one for one in whole if len(one) <= MAX_MESSAGE]
        self.too_long += len(whole) - len(messages)
        self._shorten()
        return messages

    def _banner(self) -> bool:
        """Remove the banner from the buffer; return whether it was complete. Raises NotAmi."""
        end = self.pending.find(b"\r\n")
        if end > _MAX_BANNER or (end < 0 and len(self.pending) > _MAX_BANNER):
            raise NotAmi
        begun = self.pending[: len(_BANNER)]
        if not _BANNER.startswith(begun):
            raise NotAmi
        if end < 0:
            return False
        if begun != _BANNER:
            raise NotAmi
        del self.pending[: end + 2]
        self.greeted = True
        return True

    def _shorten(self) -> None:
        """Discard an overlong incomplete message but its last bytes: its end may begin there."""
        if not self._skipping and len(self.pending) > MAX_MESSAGE:
            self._skipping = True
            self.too_long += 1
        if self._skipping:
            del self.pending[: -len(END) + 1]


_Header = tuple[bytes, str]
"""A wanted header: the bytes before its value, and its name."""


class Reader:
    """Parses the events and headers in `wanted`, which maps event names to header names.

    The first of a repeated header counts, since later ones may be forged. ActionIDs of this
    connection begin with `prefix`.
    """

    def __init__(self, wanted: Mapping[str, frozenset[str]], prefix: str) -> None:
        self._events: dict[bytes, tuple[str, tuple[_Header, ...]]] = {
            event.encode(): (event, _headers(sorted(names))) for event, names in wanted.items()
        }
        self._head = _headers(_ANSWER)
        self._own = b"\r\nActionID: " + prefix.encode()

    def read(self, raw: bytes) -> Message | Item | Answer | Drop | None:
        """Parse a message of the splitter; return None for an event that is not wanted."""
        raw = raw.lstrip(b"\r\n")
        if raw.startswith(b"Event: "):
            return self._event(raw)
        if raw.startswith(b"Response: "):
            return self._answer(raw)
        return Drop.MALFORMED

    def _event(self, raw: bytes) -> Message | Item | Drop | None:
        end = raw.find(b"\r\n")
        name = raw[7:end] if end > 0 else raw[7:]
        known = self._events.get(name)
        number = self._number(raw)
        if number is None:
            if known is None:
                return None
            if b"\r\nPrivilege: " not in raw:
                return Drop.NO_PRIVILEGE
            return _message(raw, *known)
        if b"\r\nEventList: Complete" in raw:
            return Item(number, None, complete=True)
        return Item(number, None if known is None else _message(raw, *known), complete=False)

    def _answer(self, raw: bytes) -> Answer | Drop:
        number = self._number(raw)
        if number is None:
            return Drop.FOREIGN
        return Answer(number, _message(b"\r\n" + raw, "", self._head), raw)

    def _number(self, raw: bytes) -> int | None:
        """Number of the action of this connection that a message answers; None if there is none."""
        at = raw.find(self._own)
        # A repeated header does not count, as in `_message`.
        if at < 0 or raw.find(b"\r\nActionID: ") != at:
            return None
        digits = raw[at + len(self._own) :].split(b"\r\n", 1)[0]
        return int(digits) if digits.isdigit() and len(digits) < _MAX_DIGITS else None


def _headers(names: Iterable[str]) -> tuple[_Header, ...]:
    return tuple((f"\r\n{name}:".encode(), name) for name in names)


def _message(raw: bytes, event: str, headers: tuple[_Header, ...]) -> Message:
    found = {}
    for mark, name in headers:
        at = raw.find(mark)
        if at >= 0:
            begin = at + len(mark)
            end = raw.find(b"\r\n", begin)
            value = raw[begin : min(end if end >= 0 else len(raw), begin + MAX_VALUE)]
            found[name] = value.decode(errors="replace").strip(" ")
    return Message(event, found)


def actions_listed(answer: bytes) -> frozenset[str]:
    """Names of the actions in an answer to ListCommands."""
    lines = answer.decode("ascii", errors="replace").split("\r\n")
    return frozenset(line.partition(":")[0] for line in lines if "(Priv: " in line)
