"""The records of the memory. Times are ns since 1970 unless said otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from collector.privacy import OwnerMark, ServerPseudonym


class Action(StrEnum):
    """A request of an owner, or of another collector's notice."""

    ERASE = "erase"
    OPT_OUT = "opt-out"
    OPT_IN = "opt-in"
    """Asked for by a command; nothing is erased."""
    NOTICE = "notice"
    """Another collector erased; what this one still held is to follow."""


class State(StrEnum):
    """Progress of an erasure."""

    QUEUED = "queued"
    """It waits for an operator."""
    ACCEPTED = "accepted"
    PLANNED = "planned"
    """Something may have been deleted already: it must be brought to its end."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Asked:
    """An erasure asked for. `found` and `plan` are the eraser's own, empty before they are made.

    `until_ns` bounds what a notice is about by the time of receipt; 0: all up to when it is done.
    """

    id: int
    asked_ns: int
    server: ServerPseudonym
    action: Action
    state: State
    until_ns: int
    found: str
    plan: str
    delayed: bool = False
    """Whether it could not be done when it was last tried."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An owner's choice, whether reports are dropped (`out`), and when it was made."""

    owner: OwnerMark
    out: bool
    at_ns: int


@dataclass(frozen=True, slots=True)
class Notice:
    """That what an owner sent up to a time was erased, and of which days (ISO, comma between)."""

    owner: OwnerMark
    at_ns: int
    days: str
