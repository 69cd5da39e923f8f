"""Outcomes of calls, from hangup causes. Pure.

Causes are those of ITU-T Q.850; the technology's own cause of a PJSIP channel is a SIP status. The
causes that Asterisk 22 gives for each outcome: docs/senders/asterisk-ami-measurements.md.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from collector.intakes.ami.message import Message
from collector.schema import NONE, OTHER

_CAUSES: Final = 128
_SIP: Final = range(300, 700)
_TERMINATED: Final = "487"


class Outcome(StrEnum):
    """Outcome of a call or of an attempt."""

    ANSWERED = "answered"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    """Nobody answered in time."""
    CANCELLED = "cancelled"
    """The caller gave up, or another phone answered."""
    FAILED = "failed"
    LOST = "lost"
    """It ended while the connection was away."""


_OUTCOMES: Final = {
    0: Outcome.NO_ANSWER,
    16: Outcome.CANCELLED,
    17: Outcome.BUSY,
    18: Outcome.NO_ANSWER,
    19: Outcome.NO_ANSWER,
    26: Outcome.CANCELLED,
}


class Cause(NamedTuple):
    """A hangup cause as stored in tags: of Q.850, and of the channel's technology."""

    cause: str = "0"
    tech_cause: str = NONE

    @property
    def tells(self) -> bool:
        """Whether it explains why an outgoing leg failed; false if the caller ended the leg."""
        return self.cause not in _OWN


_GAVE_UP: Final = Cause("127")
"""Cause of a caller who gave up, of Asterisk before 22.7, which sends no SIP status (487)."""
_OWN: Final = frozenset({"0", "16", "26"})


def cause_of(message: Message) -> Cause:
    """The cause in a Hangup."""
    number = message.whole("Cause")
    tech = message.whole("TechCause")
    return Cause(
        OTHER if number is None or number >= _CAUSES else str(number),
        str(tech) if tech is not None and tech in _SIP else NONE,
    )


def outcome_of(cause: Cause, *, is_caller: bool) -> Outcome:
    """The outcome of a call (by its caller's cause) or attempt that was not answered."""
    if cause.tech_cause == _TERMINATED or (is_caller and cause == _GAVE_UP):
        return Outcome.CANCELLED
    number = int(cause.cause) if cause.cause != OTHER else -1
    return _OUTCOMES.get(number, Outcome.FAILED)
