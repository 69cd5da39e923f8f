"""Limits of concurrent connections, and the choice of the one that makes room for another.

A connection is *idle* (no byte of a next request has come), *arriving* (a request has begun and is
not whole) or *at work*. Where there is no room for a new one, the idle or arriving one that has
waited longest is closed: whoever opens connections and says little keeps nobody out. Connections
of trusted proxies are closed last.

A request is a *sender's* (POST) or a *reader's* (any other method). Each kind may hold half of the
connections, so that neither can take the other's. Every step takes constant time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from typing import Final, Protocol

from collector.admission import Network, is_within, site_of

_IDLE_S: Final = 0.25
"""An idle connection is not closed sooner after its last byte: its request may be on its way."""
_ARRIVING_S: Final = 2.0
"""A request that has begun is given this long before it may be closed for another."""


class Kind(IntEnum):
    """Whose request a connection is at work for."""

    READER = 0
    SENDER = 1


class Stage(Enum):
    """What a connection does."""

    IDLE = auto()
    ARRIVING = auto()
    AT_WORK = auto()


# Members of an enumeration are found slowly, and each report comes by here.
_IDLE: Final = Stage.IDLE
_ARRIVING: Final = Stage.ARRIVING
_AT_WORK: Final = Stage.AT_WORK
_READER: Final = Kind.READER


class Guarded(Protocol):
    """A connection within limits."""

    def make_room(self) -> None:
        """Close, since another connection needs the room."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one address: connections in all and from one sender, bytes of a head, seconds.

    `seconds` bounds the arrival of a request's head, that of its body, a silence between requests,
    and the time for which a reader may take nothing of an answer. `trusted` are proxies, which
    speak for many senders.
    """

    connections: int
    per_address: int
    head_bytes: int
    seconds: int
    trusted: Sequence[Network] = ()


@dataclass(eq=False, slots=True)
class Place:
    """The place of one admitted connection; its guard alone changes it."""

    connection: Guarded
    name: bytes
    site: _Site | None
    waiting: tuple[_Waiting, ...]
    stage: Stage = field(default=Stage.AT_WORK, init=False)
    kind: Kind | None = field(default=None, init=False)


@dataclass(slots=True)
class _Waiting:
    """Places that wait, by the moment (s) since when they do, longest first."""

    idle: OrderedDict[Place, float] = field(default_factory=OrderedDict)
    arriving: OrderedDict[Place, float] = field(default_factory=OrderedDict)

    def longest(self, now: float) -> Place | None:
        """The one that has waited longest, and long enough to be closed."""
        found: Place | None = None
        earliest = now
        for queue, least in ((self.idle, _IDLE_S), (self.arriving, _ARRIVING_S)):
            place, since = next(iter(queue.items()), (None, now))
            if now - since > least and since < earliest:
                found, earliest = place, since
        return found


@dataclass(slots=True)
class _Site:
    """One client address: how many connections, how many at work for readers, and who waits."""

    open: int = 0
    readers: int = 0
    waiting: _Waiting = field(default_factory=_Waiting)


class Guard:
    """Limits concurrent connections, in total, by kind of request and by client address.

    Moments are seconds of the event loop's clock, and never fall from one call to the next.
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
        """Senders' requests whose bodies have not come whole."""

    def __len__(self) -> int:
        return self._open

    def admit(self, connection: Guarded, address: str, now: float) -> Place | None:
        """The place of a new connection, idle, for which another may be closed; None: no room."""
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
        """Nothing of a request has come: it waits from `now` on, as it does after an answer."""
        self.at_work(place)
        self._leave(place)
        place.stage = _IDLE
        for waiting in place.waiting:
            waiting.idle[place] = now

    def arriving(self, place: Place, now: float) -> None:
        """A request has begun to arrive. The moment stays, however slowly the rest comes."""
        if place.stage is _ARRIVING:
            return
        self.at_work(place)
        place.stage = _ARRIVING
        for waiting in place.waiting:
            waiting.arriving[place] = now

    def at_work(self, place: Place) -> None:
        """A request is whole: the connection is not closed for another."""
        if place.stage is _IDLE:
            for waiting in place.waiting:
                del waiting.idle[place]
        elif place.stage is _ARRIVING:
            for waiting in place.waiting:
                del waiting.arriving[place]
            self._uploads.pop(place, None)
        place.stage = _AT_WORK

    def enter(self, place: Place, kind: Kind, now: float) -> bool:
        """Whether a request may be handled: there is room left in its kind's share.

        For a sender's request, another one that has been arriving for long is closed.
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
        """The connection is gone, or as good as gone; a second time, nothing is changed."""
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
