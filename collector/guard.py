"""Limits on concurrent connections, and the choice of which to close for a new one.

A connection is *idle* (no byte of the next request has arrived), *arriving* (a request is
incomplete) or *at work*. At the limit, the idle or arriving connection that has waited longest is
closed for a new one, so that silent or slow clients cannot keep others out. Connections of trusted
proxies are closed last.

A request is a *sender's* (POST) or a *reader's* (any other method). Each kind may use half of the
connections, so that neither can starve the other. Every operation takes constant time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from typing import Final, Protocol

from collector.admission import Network, is_within, site_of

_IDLE_S: Final = 0.25
"""Shortest time that a connection is idle before it may be closed: a request may be in transit."""
_ARRIVING_S: Final = 2.0
"""Shortest time that a request has to arrive before its connection may be closed."""


class Kind(IntEnum):
    """Kind of client whose request is handled."""

    READER = 0
    SENDER = 1


class Stage(Enum):
    """Stage of a connection."""

    IDLE = auto()
    ARRIVING = auto()
    AT_WORK = auto()


# Looking up a member of an enumeration is slow, and this code runs for every report.
_IDLE: Final = Stage.IDLE
_ARRIVING: Final = Stage.ARRIVING
_AT_WORK: Final = Stage.AT_WORK
_READER: Final = Kind.READER


class Closable(Protocol):
    """A connection that the guard can close."""

    def make_room(self) -> None:
        """Close in favour of another connection."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one listening address: connections in total and per client address, head size.

    `seconds` is the time limit for a request's head, for its body, between requests, and for a
    reader that does not read its response. `trusted` are proxies; `per_address` does not apply to
    them.
    """

    connections: int
    per_address: int
    head_bytes: int
    seconds: int
    trusted: Sequence[Network] = ()


@dataclass(eq=False, slots=True)
class Place:
    """State of one admitted connection; only its guard changes it."""

    connection: Closable
    name: bytes
    site: _Site | None
    waiting: tuple[_Waiting, ...]
    stage: Stage = field(default=Stage.AT_WORK, init=False)
    kind: Kind | None = field(default=None, init=False)


@dataclass(slots=True)
class _Waiting:
    """Idle and arriving connections with the time (s) since when they wait, longest first."""

    idle: OrderedDict[Place, float] = field(default_factory=OrderedDict)
    arriving: OrderedDict[Place, float] = field(default_factory=OrderedDict)

    def longest(self, now: float) -> Place | None:
        """The connection that has waited longest; None if none has waited long enough."""
        found: Place | None = None
        earliest = now
        for queue, least in ((self.idle, _IDLE_S), (self.arriving, _ARRIVING_S)):
            place, since = next(iter(queue.items()), (None, now))
            if now - since > least and since < earliest:
                found, earliest = place, since
        return found


@dataclass(slots=True)
class _Site:
    """Connections of one client address: number open, number at work for readers, and waiting."""

    open: int = 0
    readers: int = 0
    waiting: _Waiting = field(default_factory=_Waiting)


class Guard:
    """Limits concurrent connections, in total, by kind of request and by client address.

    Times are seconds of the event loop's clock, and never decrease from one call to the next.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        readers = limits.connections // 2
        self._shares = (readers, limits.connections - readers)
        self._readers_of_site = max(1, limits.per_address // 2)
        self._held = [0, 0]
        self._open = 0
        self._sites: dict[bytes, _Site] = {}
        self._strangers = _Waiting()
        self._proxies = _Waiting()
        self._uploads: OrderedDict[Place, float] = OrderedDict()
        """Senders' requests with incomplete bodies, longest first."""

    def __len__(self) -> int:
        return self._open

    def admit(self, connection: Closable, address: str, now: float) -> Place | None:
        """Admit a new connection, closing another if needed; None if there is no room."""
        proxy = is_within(address, self.limits.trusted)
        name = b"" if proxy else site_of(address)
        if not proxy and (site := self._sites.get(name)) is not None:
            crowded = site.open >= self.limits.per_address
            if crowded and not self._make_room(site.waiting, now):
                return None
        full = self._open >= self.limits.connections
        if full and not (
            self._make_room(self._strangers, now) or self._make_room(self._proxies, now)
        ):
            return None
        self._open += 1
        if proxy:
            place = Place(connection, name, None, (self._proxies,))
        else:
            site = self._sites.setdefault(name, _Site())
            site.open += 1
            place = Place(connection, name, site, (self._strangers, site.waiting))
        self.idle(place, now)
        return place

    def idle(self, place: Place, now: float) -> None:
        """Mark a connection as idle from `now` on, after it was accepted or after a response."""
        self.at_work(place)
        self._leave(place)
        place.stage = _IDLE
        for waiting in place.waiting:
            waiting.idle[place] = now

    def arriving(self, place: Place, now: float) -> None:
        """Mark a request as arriving; further calls do not extend its time."""
        if place.stage is _ARRIVING:
            return
        self.at_work(place)
        place.stage = _ARRIVING
        for waiting in place.waiting:
            waiting.arriving[place] = now

    def at_work(self, place: Place) -> None:
        """Mark a request as complete: the connection is not closed for another."""
        if place.stage is _IDLE:
            for waiting in place.waiting:
                del waiting.idle[place]
        elif place.stage is _ARRIVING:
            for waiting in place.waiting:
                del waiting.arriving[place]
            self._uploads.pop(place, None)
        place.stage = _AT_WORK

    def enter(self, place: Place, kind: Kind, now: float) -> bool:
        """Reserve capacity of a kind for a request; whether there was any left.

        At the senders' limit, a connection whose upload has taken too long is closed.
        """
        self._leave(place)
        full = self._held[kind] >= self._shares[kind]
        site = place.site
        if kind is _READER:
            if full or (site is not None and site.readers >= self._readers_of_site):
                return False
            if site is not None:
                site.readers += 1
        else:
            if full and not self._end_an_upload(now):
                return False
            if place.stage is _ARRIVING:
                self._uploads[place] = now
        place.kind = kind
        self._held[kind] += 1
        return True

    def release(self, place: Place) -> None:
        """Remove a closed connection; a second call does nothing."""
        if not place.waiting:
            return
        self.at_work(place)
        self._leave(place)
        place.waiting = ()
        self._open -= 1
        if place.site is not None:
            place.site.open -= 1
            if not place.site.open:
                del self._sites[place.name]

    def _leave(self, place: Place) -> None:
        kind, place.kind = place.kind, None
        if kind is not None:
            self._held[kind] -= 1
            if kind is _READER and place.site is not None:
                place.site.readers -= 1

    def _end_an_upload(self, now: float) -> bool:
        place, since = next(iter(self._uploads.items()), (None, now))
        if place is None or now - since <= _ARRIVING_S:
            return False
        self._close(place)
        return True

    def _make_room(self, waiting: _Waiting, now: float) -> bool:
        place = waiting.longest(now)
        if place is None:
            return False
        self._close(place)
        return True

    def _close(self, place: Place) -> None:
        self.release(place)
        place.connection.make_room()
