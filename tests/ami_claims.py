"""Claims about what is stored, and truths that no stored value can show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.ami_replay import Stored

NOT_STORED = "no such thing is stored"
THREADS = "counts the dialplan's threads: a Local call has two, a phone called first none"

CONTACTS = {
    "Avail": "Reachable",
    "Unavail": "Unreachable",
    "NonQual": "NonQualified",
    "Unknown": "Unknown",
}
"""States of contacts, by the CLI's word."""
MEMBERS = {
    "not_in_use": "available",
    "in_use": "in_use",
    "busy": "busy",
    "ringing": "ringing",
    "ring+inuse": "ringing",
    "on_hold": "on_hold",
    "unavailable": "unavailable",
    "invalid": "unavailable",
    "unknown": "unknown",
}
"""States of a queue's members, by the CLI's words."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A truth of the moment `at`: `holds` for what is stored at most `within` s away from it.

    `since` is the moment from which counts are meant; what was stored then is the second argument.
    """

    at: float
    what: str
    holds: Callable[[Stored, Stored | None], bool]
    within: float = 0.3
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A truth that no stored value can show, and the reason."""

    at: float
    text: str
    reason: str


Read = Claim | Unchecked


def near(value: float | str | None, wanted: float, within: float) -> bool:
    """Whether a stored value is a number close to another."""
    return isinstance(value, int | float) and abs(value - wanted) <= within


def grown(one: Stored, before: Stored | None, measurement: str, name: str, /, **tags: str) -> float:
    """The growth of a count from one moment to another."""
    value = one.total(measurement, name, **tags)
    return value - (before.total(measurement, name, **tags) if before is not None else 0)


def equals(
    at: float,
    measurement: str,
    name: str,
    count: float,
    /,
    *,
    within: float = 0.3,
    since: float | None = None,
    **tags: str,
) -> Claim:
    """Claim that the sum of a field over all series with these tags is `count`."""
    return Claim(
        at,
        f"{measurement} {tags} {name} = {count}",
        lambda one, before: grown(one, before, measurement, name, **tags) == count,
        within,
        since,
    )


def waits(at: float, name: str, longest: int) -> Claim:
    """Claim that the longest wait in a queue is this, in the CLI's whole seconds."""
    return Claim(
        at,
        f"{name}: longest wait {longest} s",
        lambda one, _: (
            longest - 1 <= float(one.get("queues", "longest_wait", queue=name) or 0) < longest + 2
        ),
    )


@dataclass(frozen=True, slots=True)
class QueueTruth:
    """What the CLI says of a queue; counts are since it began to count at `reset`."""

    name: str
    waiting: int
    completed: int
    abandoned: int
    level: int
    members: Counter[str]
    reset: float | None = None

    def claims(self, at: float) -> Iterator[Claim]:
        """The claims of it."""
        for field, count, since in (
            ("waiting", self.waiting, None),
            ("service_level", self.level, None),
            ("members", self.members.total(), None),
            ("completed", self.completed, self.reset),
            ("abandoned", self.abandoned, self.reset),
        ):
            yield equals(at, "queues", field, count, since=since, queue=self.name)
        for state in sorted(set(MEMBERS.values()) | {"paused"}):
            count = self.members[state]
            yield equals(at, "agents", "count", count, queue=self.name, state=state)
