"""Counts of the calls of a flush, by direction and trunk. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from collector.intakes.ami.state.causes import Cause, Outcome
from collector.intakes.ami.state.spread import Spread
from collector.intakes.ami.state.times import NS_PER_S, since
from collector.intakes.series import Add
from collector.schema import NONE, OTHER, UNKNOWN
from collector.schema.ami import CALLS

IN: Final = "in"
OUT: Final = "out"
INTERNAL: Final = "internal"

_MOST_CAUSES: Final = 200
"""Most series of outcome and cause in a flush; further ones have the cause `other`."""
_MOST_BEGAN: Final = 50_000
"""Most calls of a flush whose trunk may still become known; further ones are counted at once."""

Route = tuple[str, str]
"""Direction and trunk of a call."""
_Ends = Counter[tuple[Route, str, Cause]]


@dataclass(slots=True)
class Call:
    """A call: the channels that began with one Linkedid.

    `began_ns` is None if its beginning was not seen, `answered_ns` if its answer was not. `names`
    are its Linkedids, several if a transfer merged calls. `leg_cause` is that of the last failed
    leg.
    """

    first: str
    began_ns: int | None
    names: set[str]
    channels: set[str] = field(default_factory=set)
    is_answered: bool = False
    answered_ns: int | None = None
    cause: Cause | None = None
    leg_cause: Cause | None = None
    direction: str = INTERNAL
    trunk: str = NONE


@dataclass(slots=True)
class _Counts:
    answered: int = 0
    ring: Spread = field(default_factory=Spread)
    talk: Spread = field(default_factory=Spread)


class Tally:
    """Counts of the calls of a flush. `trunks` are the names that the operator gave."""

    def __init__(self, trunks: Iterable[str]) -> None:
        self._trunks = frozenset(trunks)
        self._base: Route = (INTERNAL if self._trunks else UNKNOWN, NONE)
        self._began: list[Call] = []
        self._began_before: Counter[Route] = Counter()
        self._counts: dict[Route, _Counts] = defaultdict(_Counts)
        self._ended: _Ends = Counter()
        self._attempts: _Ends = Counter()

    def route(self, call: Call) -> Route:
        """Direction and trunk of a call, as far as known."""
        return (call.direction, call.trunk) if call.trunk != NONE else self._base

    def began(self, call: Call, now_ns: int) -> None:
        """Count a call that begins; its direction is the one known at the end of the flush."""
        call.began_ns = now_ns
        if len(self._began) < _MOST_BEGAN:
            self._began.append(call)
        else:
            self._began_before[self._base] += 1

    def answered(self, call: Call, now_ns: int) -> None:
        """Count a call that is answered; only its first answer counts."""
        if call.is_answered:
            return
        call.is_answered = True
        call.answered_ns = now_ns
        counts = self._counts[self.route(call)]
        counts.answered += 1
        if call.began_ns is not None:
            counts.ring.add(since(call.began_ns, now_ns) / NS_PER_S)

    def ended(self, call: Call, outcome: Outcome, cause: Cause, now_ns: int) -> None:
        """Count a call that ends."""
        route = self.route(call)
        _count(self._ended, route, outcome, cause)
        if outcome is Outcome.ANSWERED and call.answered_ns is not None:
            self._counts[route].talk.add(since(call.answered_ns, now_ns) / NS_PER_S)

    def attempted(self, call: Call, trunk: str, outcome: Outcome, cause: Cause) -> None:
        """Count a called leg that ends; a call that fails over has one on each trunk."""
        route = (OUT, trunk) if trunk != NONE else self.route(call)
        _count(self._attempts, route, outcome, cause)

    def flush(
        self, calls: Iterable[Call], hidden: int, common: Mapping[str, int], *, now: bool, add: Add
    ) -> None:
        """Add the points of a flush and reset the counts.

        `calls` are the present calls, `hidden` is the number of channels that belong to none;
        they are written if `now` is set. `common` fields are in all points.
        """
        counted: Counter[Route] = Counter()
        channels: Counter[Route] = Counter({self._base: hidden})
        for call in calls:
            route = self.route(call)
            counted[route] += 1
            channels[route] += len(call.channels)
        started = self._began_before + Counter(self.route(call) for call in self._began)
        self._began.clear()
        self._began_before.clear()
        counts, self._counts = self._counts, defaultdict(_Counts)
        always = {self._base, *((way, trunk) for trunk in self._trunks for way in (IN, OUT))}
        for route in sorted({*always, *counted, *started, *counts}):
            its = counts.get(route) or _Counts()
            fields: dict[str, int | float] = {
                **common,
                "started": started[route],
                "answered": its.answered,
                **its.ring.fields("ring"),
                "talks": its.talk.count,
                "talk_sum": its.talk.sum,
                **its.talk.fields("talk"),
            }
            if now:
                fields |= {"calls": counted[route], "channels": channels[route]}
            add(CALLS.name, _tags(route), fields)
        self._flush_causes(add)

    def _flush_causes(self, add: Add) -> None:
        ended, self._ended = self._ended, Counter()
        attempts, self._attempts = self._attempts, Counter()
        for key in sorted({*ended, *attempts}):
            route, outcome, cause = key
            fields = {
                name: counter[key]
                for name, counter in (("ended", ended), ("attempts", attempts))
                if counter[key]
            }
            tags = {"outcome": outcome, "cause": cause.cause, "tech_cause": cause.tech_cause}
            add(CALLS.name, {**_tags(route), **tags}, fields)


def _count(counter: _Ends, route: Route, outcome: Outcome, cause: Cause) -> None:
    key = (route, outcome.value, cause)
    if key not in counter and len(counter) >= _MOST_CAUSES:
        key = (route, outcome.value, Cause(OTHER))
    counter[key] += 1


def _tags(route: Route) -> dict[str, str]:
    direction, trunk = route
    return {"direction": direction, "trunk": trunk}
