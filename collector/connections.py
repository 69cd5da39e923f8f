"""Connections of an address open to everyone: how many, for how long, and what is no HTTP.

aiohttp reads and answers; this bounds what it leaves open. A connection is *waiting* until the
head of its next request is whole. Where there is no room for a new one, the one that has waited
longest makes it, so that whoever opens connections and says nothing keeps nobody out.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import structlog
from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from collector.admission import Network, is_within, site_of
from collector.logs import Sparing, place
from collector.metrics import Metrics
from collector.problems import SERVER, Reason, Refusal

log = structlog.get_logger("collector.connections")

_GRACE_S: Final = 0.25
"""A connection that has waited for less is not closed for another: its request is on its way."""
_LOOK_AGAIN_S: Final = 0.05
_LINGER_S: Final = 5.0
_RETRY_AFTER_S: Final = 60

_FULL: Final = Refusal(Reason.TOO_MANY_CONNECTIONS, "no room for a connection", _RETRY_AFTER_S)
_SLOW: Final = Refusal(Reason.TOO_SLOW, "the request did not arrive whole in time")
_LONG_HEAD: Final = Refusal(Reason.HEAD_TOO_LARGE, "the head of the request is over the limit")
_NO_HTTP: Final = Refusal(Reason.MALFORMED_HTTP, "this is no HTTP/1 request")
_FAILED: Final = Refusal(Reason.INTERNAL_ERROR, "a fault of ours; it is logged")
_CLOSING: Final = {hdrs.CONNECTION: "close"}


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


class Guard:
    """The open connections of one address, and what becomes of one more."""

    def __init__(self, limits: Limits, metrics: Metrics, *, name: str) -> None:
        self.limits = limits
        self._metrics = metrics
        self._open: dict[Connection, bytes] = {}
        self._by_site: Counter[bytes] = Counter()
        self._looked: dict[bytes | None, float] = {}
        self._sparing = Sparing()
        metrics.connections.labels(name).set_function(lambda: len(self._open))

    def admit(self, connection: Connection, address: str, now: float) -> bool:
        """Whether a connection may stay at `now` (s, of the loop's clock); makes room for it."""
        site = b"" if is_within(address, self.limits.trusted) else site_of(address)
        crowded = bool(site) and self._by_site[site] >= self.limits.per_address
        if crowded and not self._make_room(site, now):
            return False
        if len(self._open) >= self.limits.connections and not self._make_room(None, now):
            return False
        self._open[connection] = site
        self._by_site[site] += 1
        return True

    def release(self, connection: Connection) -> None:
        """A connection is gone, or as good as gone."""
        site = self._open.pop(connection, None)
        if site is not None:
            self._by_site[site] -= 1
            if not self._by_site[site]:
                del self._by_site[site]

    def _make_room(self, site: bytes | None, now: float) -> bool:
        """Close who has waited longest, of a site or of all."""
        # Under attack most look in vain: they must not all look through all the others.
        if now < self._looked.get(site, 0.0):
            return False
        for connection, its in self._open.items():
            if (site is None or its == site) and connection.waited(now) > _GRACE_S:
                self.release(connection)
                self.refused(_FULL, "had waited longest")
                connection.abort()
                return True
        if len(self._looked) > self.limits.connections:
            self._looked.clear()
        self._looked[site] = now + _LOOK_AGAIN_S
        return False

    def refused(self, refusal: Refusal, detail: str | None = None) -> None:
        """Count a refusal, and log it sparingly."""
        reason = refusal.reason.value
        self._metrics.http_refusals.labels(reason).inc()
        self._sparing.info(log, "refused", reason=reason, detail=detail or refusal.detail)


class Connection(web.RequestHandler):
    """One connection: aiohttp's, within its guard's limits, its refusals in our form."""

    # What is set and read here of aiohttp's own, and not its interface: `_waiter` (waits for a
    # head), `_request_count` (heads read), `_next_keepalive_close_time`, `_process_keepalive`.
    __slots__ = ("_guard", "_head", "_slow_reader", "_wire")

    def __init__(self, server: web.Server, guard: Guard, loop: asyncio.AbstractEventLoop) -> None:
        options: dict[str, Any] = {"access_log": None}
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=guard.limits.seconds,
            lingering_time=min(_LINGER_S, guard.limits.seconds),
            auto_decompress=False,
            **options,
        )
        self._guard = guard
        self._head = 0
        self._slow_reader: asyncio.TimerHandle | None = None
        self._wire: asyncio.Transport | None = None

    def waited(self, now: float) -> float:
        """Seconds for which the next request's head has been awaited; 0 while one is answered."""
        if self._waiter is None or self._waiter.done():
            return 0.0
        return now - self._next_keepalive_close_time + self._guard.limits.seconds

    def abort(self) -> None:
        """Close now, whatever is still to be sent."""
        self.force_close()
        if self._wire is not None:
            self._wire.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A sender has connected."""
        wire = cast("asyncio.Transport", transport)
        peer = wire.get_extra_info("peername")
        if not self._guard.admit(self, peer[0] if peer else "", self._loop.time()):
            self._guard.refused(_FULL)
            wire.write(_written(_FULL))
            wire.close()
            return
        self._wire = wire
        with contextlib.suppress(OSError):
            # A peer that takes nothing, not even the end of an answer, is no peer.
            wire.get_extra_info("socket").setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._guard.limits.seconds * 1000
            )
        super().connection_made(wire)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is closed."""
        self._guard.release(self)
        if self._slow_reader is not None:
            self._slow_reader.cancel()
        if self._wire is not None:
            self._wire = None
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._wire is None:
            return
        heads = self._request_count
        # The first bytes may be here before aiohttp waits for them.
        waiting = self._waiter is not None or not heads
        super().data_received(data)
        if not waiting:
            return
        if self._request_count != heads:
            self._head = 0
            return
        self._head += len(data)
        if self._head > self._guard.limits.head_bytes:
            self._refuse(_LONG_HEAD)

    def pause_writing(self) -> None:
        """The peer does not take what it asked for."""
        super().pause_writing()
        self._slow_reader = self._loop.call_later(self._guard.limits.seconds, self._give_up)

    def resume_writing(self) -> None:
        """The peer takes again."""
        super().resume_writing()
        if self._slow_reader is not None:
            self._slow_reader.cancel()
            self._slow_reader = None

    def _give_up(self) -> None:
        self._guard.refused(_SLOW, "the answer was not taken in time")
        self.abort()

    def _process_keepalive(self) -> None:
        """The time for a head is over."""
        # Timers may fire a little early.
        if self._head and self.waited(self._loop.time()) > self._guard.limits.seconds - 0.1:
            self._refuse(_SLOW)
        else:
            super()._process_keepalive()

    def _refuse(self, refusal: Refusal) -> None:
        self._guard.refused(refusal)
        if self.transport is not None:
            self.transport.write(_written(refusal))
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP, and what none of our own code foresaw."""
        if isinstance(exc, HttpProcessingError):
            refusal = _LONG_HEAD if isinstance(exc, LineTooLong) else _NO_HTTP
            self._guard.refused(refusal, f"not HTTP: {type(exc).__name__}")
        else:
            refusal = _FAILED
            self._guard.refused(refusal)
            log.error("error handling a request", place=place(exc) if exc else "a time ran out")
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        response = refusal.response()
        response.headers.update(_CLOSING)
        response.force_close()
        return response


def _written(refusal: Refusal) -> bytes:
    """A refusal as it goes over the wire, where there is no request to answer."""
    body = refusal.body()
    headers = {
        hdrs.CONTENT_TYPE: "application/problem+json",
        hdrs.CONTENT_LENGTH: str(len(body)),
        hdrs.SERVER: SERVER,
        **refusal.headers(),
        **_CLOSING,
    }
    lines = [f"HTTP/1.1 {refusal.status.value} {refusal.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
