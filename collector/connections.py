"""HTTP connections with limits on number, time and size, for addresses that are open to everyone.

Extends aiohttp's protocol: reports the stage of each connection to the guard (collector.guard),
closes connections that are too slow, and sends errors as problem+json.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, Final, cast

import structlog
from aiohttp import StreamReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from collector.fast_path import FastPath, FastRequestHandler
from collector.guard import Guard, Kind, Limits, Place, Stage
from collector.logs import Sparing, place
from collector.metrics import Metrics
from collector.problems import SERVER, Reason, Refusal

log = structlog.get_logger("collector.connections")

_LINGER_S: Final = 5.0
_RETRY_AFTER_S: Final = 60
_FLUSH_FIRST_S: Final = 0.005
_FLUSH_MOST_S: Final = 0.5
"""Pauses between two checks of whether a reader has received its response."""

_FULL: Final = Refusal(Reason.TOO_MANY_CONNECTIONS, "too many connections are open", _RETRY_AFTER_S)
_SLOW: Final = Refusal(Reason.TOO_SLOW, "the request did not arrive whole in time")
_LONG_HEAD: Final = Refusal(Reason.HEAD_TOO_LARGE, "the head of the request is over the limit")
_NO_HTTP: Final = Refusal(Reason.MALFORMED_HTTP, "this is not a valid HTTP/1 request")
_FAILED: Final = Refusal(Reason.INTERNAL_ERROR, "an internal error, which has been logged")
_CLOSING: Final = {hdrs.CONNECTION: "close"}


class Listener:
    """State of one listening address: its limits, and its count of refusals before any handler."""

    def __init__(self, limits: Limits, metrics: Metrics, *, name: str) -> None:
        self.limits = limits
        self.guard = Guard(limits)
        self._metrics = metrics
        self._sparing = Sparing()
        metrics.follow(metrics.connections.labels(name), lambda: len(self.guard))

    def refused(self, refusal: Refusal, detail: str | None = None) -> None:
        """Count a refusal, and log it at a limited rate."""
        reason = refusal.reason.value
        self._metrics.http_refusals.labels(reason).inc()
        self._sparing.info(log, "refused", reason=reason, detail=detail or refusal.detail)


class Connection(FastRequestHandler):
    """One connection, within the limits of its listener."""

    # Private attributes of aiohttp used here: `_waiter` (future that waits for a head),
    # `_request_count` (heads read), `_messages` (heads not handled yet, with their bodies),
    # `_current_request`, `_next_keepalive_close_time`, `_process_keepalive`. Also relied upon:
    # aiohttp calls `log_access` after each response, even without an access log.
    __slots__ = (
        "_body",
        "_guard",
        "_head",
        "_listener",
        "_part",
        "_place",
        "_slow_reader",
        "_wire",
    )

    def __init__(
        self,
        server: web.Server,
        listener: Listener,
        loop: asyncio.AbstractEventLoop,
        fast_path: FastPath,
    ) -> None:
        options: dict[str, Any] = {"access_log": None}
        super().__init__(
            server,
            fast_path=fast_path,
            loop=loop,
            keepalive_timeout=listener.limits.seconds,
            lingering_time=min(_LINGER_S, listener.limits.seconds),
            auto_decompress=False,
            **options,
        )
        self._listener = listener
        self._guard = listener.guard
        self._place: Place | None = None
        self._head = 0
        self._part = False
        self._body: StreamReader | None = None
        self._slow_reader: asyncio.TimerHandle | None = None
        self._wire: asyncio.Transport | None = None

    def _waited(self, now: float) -> float:
        """Seconds since the connection began to wait for the next head; 0 during a request."""
        if self._waiter is None or self._waiter.done():
            return 0.0
        return now - self._next_keepalive_close_time + self._listener.limits.seconds

    def abort(self) -> None:
        """Close now, and discard unsent bytes."""
        self.force_close()
        if self._wire is not None:
            self._wire.abort()

    def make_room(self) -> None:
        """Close in favour of another connection; answer 503 if a request is arriving."""
        unanswered = self._head if self._current_request is None else self._body is not None
        if unanswered:
            self._refuse(_FULL, "closed in favour of a new connection")
        else:
            self._listener.refused(_FULL, "closed in favour of a new connection")
            self.abort()

    def enter(self, method: str) -> Refusal | None:
        """Reserve capacity for a request; the refusal if its kind has none left."""
        if self.may_answer(method):
            return None
        self._listener.refused(_FULL, f"no capacity left for a {_kind(method).name.lower()}")
        return _FULL

    def may_answer(self, method: str) -> bool:
        """Reserve capacity for a request; whether its kind has any left."""
        return self._place is None or self._guard.enter(
            self._place, _kind(method), self._loop.time()
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the connection, or answer 503 and close it."""
        wire = cast("asyncio.Transport", transport)
        peer = wire.get_extra_info("peername")
        self._place = self._guard.admit(self, peer[0] if peer else "", self._loop.time())
        if self._place is None:
            self._listener.refused(_FULL)
            wire.write(_written(_FULL))
            wire.close()
            return
        self._wire = wire
        with contextlib.suppress(OSError):
            # Ends connections whose peer does not even acknowledge the end of a response.
            wire.get_extra_info("socket").setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._listener.limits.seconds * 1000
            )
        super().connection_made(wire)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Release the connection's place."""
        if self._place is not None:
            self._guard.release(self._place)
        if self._slow_reader is not None:
            self._slow_reader.cancel()
        if self._wire is not None:
            self._wire = None
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, and report the connection's stage to the guard."""
        place = self._place
        if place is None:
            return
        heads = self._request_count
        # The first bytes may arrive before aiohttp waits for them.
        waiting = self._waiter is not None or not heads
        super().data_received(data)
        if self._request_count != heads:
            self._head_came(place)
        elif self._body is not None:
            if self._body.is_eof():
                self._body = None
                if place.stage is Stage.ARRIVING:
                    self._guard.at_work(place)
        elif waiting:
            self._head += len(data)
            self._guard.arriving(place, self._loop.time())
            if self._head > self._listener.limits.head_bytes:
                self._refuse(_LONG_HEAD)
        elif data:
            self._part = True

    def _head_came(self, place: Place) -> None:
        self._head, self._part = 0, False
        if not self._messages:
            # The fast path has answered it already.
            return
        payload = self._messages[-1][1]
        self._body = None if payload.is_eof() else payload
        if self._body is None:
            self._guard.at_work(place)
        elif place.stage is Stage.IDLE:
            self._guard.arriving(place, self._loop.time())

    def log_access(
        self, request: web.BaseRequest, response: web.StreamResponse, time: float | None
    ) -> None:
        """Called by aiohttp when a response has been written."""
        self.has_answered()

    def has_answered(self) -> None:
        """Wait for the next request, after a response has been written."""
        if self._place is None or self._messages:
            return
        if self._place.kind is Kind.READER:
            self._rest_when_taken(self._place, self._loop.time(), _FLUSH_FIRST_S)
        else:
            self._rest(self._place)

    def _rest_when_taken(self, place: Place, since: float, wait: float) -> None:
        """Wait until a reader has received its response; it counts as at work until then."""
        if self._wire is None or self._messages or self._current_request is not None:
            return
        if not self._wire.get_write_buffer_size():
            self._rest(place)
        elif self._loop.time() - since > self._listener.limits.seconds:
            self._give_up()
        else:
            self._loop.call_later(
                wait, self._rest_when_taken, place, since, min(2 * wait, _FLUSH_MOST_S)
            )

    def _rest(self, place: Place) -> None:
        now = self._loop.time()
        self._guard.idle(place, now)
        if self._part:
            # A part of the next request arrived while this one was answered.
            self._guard.arriving(place, now)
            self._part = False

    def pause_writing(self) -> None:
        """Start the time limit for a peer that does not read its response."""
        super().pause_writing()
        self._slow_reader = self._loop.call_later(self._listener.limits.seconds, self._give_up)

    def resume_writing(self) -> None:
        """Cancel the time limit: the peer reads again."""
        super().resume_writing()
        if self._slow_reader is not None:
            self._slow_reader.cancel()
            self._slow_reader = None

    def _give_up(self) -> None:
        self._listener.refused(_SLOW, "the peer did not read the response in time")
        self.abort()

    def _process_keepalive(self) -> None:
        """Refuse or close, when the time limit for a head is over."""
        # Timers may fire a little early.
        waited = self._waited(self._loop.time())
        if self._head and waited > self._listener.limits.seconds - 0.1:
            self._refuse(_SLOW)
        else:
            super()._process_keepalive()

    def _refuse(self, refusal: Refusal, detail: str | None = None) -> None:
        self._listener.refused(refusal, detail)
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
        """The response to malformed HTTP, or to an unexpected exception.

        Raises ConnectionError if none can be sent: a response has begun, or the peer has gone.
        """
        if isinstance(exc, ConnectionError) and self._has_gone():
            # A reader that stops a download, or is too slow for it, is not an internal error.
            raise exc
        if isinstance(exc, HttpProcessingError):
            refusal = _LONG_HEAD if isinstance(exc, LineTooLong) else _NO_HTTP
            self._listener.refused(refusal, f"not HTTP: {type(exc).__name__}")
        else:
            refusal = _FAILED
            self._listener.refused(refusal)
            log.error("error handling a request", place=place(exc) if exc else "time-out")
        if request.writer.output_size > 0:
            raise ConnectionError("the response has begun")
        response = refusal.response()
        response.headers.update(_CLOSING)
        response.force_close()
        return response

    def _has_gone(self) -> bool:
        return self.transport is None or self.transport.is_closing()


def _kind(method: str) -> Kind:
    return Kind.SENDER if method == hdrs.METH_POST else Kind.READER


def _written(refusal: Refusal) -> bytes:
    """A refusal as a complete HTTP response, for when aiohttp has no request to answer."""
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
