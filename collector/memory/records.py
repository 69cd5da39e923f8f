"""Records of the memory. Times are ns since 1970 unless said otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from collector.privacy import OwnerMark, ServerPseudonym


class Action(StrEnum):
    """Kind of an erasure request: from an owner, or from another collector's notice."""

    ERASE = "erase"
    OPT_OUT = "opt-out"
    OPT_IN = "opt-in"
    """Requested by a command; erases nothing."""
    NOTICE = "notice"
    """Another collector erased for this owner, so this one erases what it holds too."""


class State(StrEnum):
    """State of an erasure request."""

    QUEUED = "queued"
    """Waits for an operator's release."""
    ACCEPTED = "accepted"
    PLANNED = "planned"
    """Begun: it may have deleted reports already, so it must be finished."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """An erasure request. `found` and `plan` are JSON of the eraser, empty until it starts.

    Reports received up to `until_ns` are erased; 0 means up to the time of the erasure.
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
    """Whether the last try failed."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An owner's choice: opted out (reports are dropped) or not, and when it was made."""

    owner: OwnerMark
    out: bool
    at_ns: int


@dataclass(frozen=True, slots=True)
class Notice:
    """Notice that an owner's reports up to a time were erased, with their days (ISO, by commas)."""

    owner: OwnerMark
    at_ns: int
    days: str
