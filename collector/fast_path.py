"""Fast path for plain POST requests, answered in `data_received` without aiohttp request objects.

aiohttp's parser reads every request. A plain one (see `_take`) goes directly to the route's fast
handler, and its response is one write of prebuilt bytes: a task, request object, response object
and route lookup cost more than handling the report itself (docs/decisions/0053). aiohttp handles
everything else: other routes, bodies that arrive in several reads, chunked bodies, `Expect`,
HTTP/1.0, and requests that close the connection. Refusals of the fast path are also sent by aiohttp
(see `decided`), so that they have a single form.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Final, NamedTuple, Protocol, cast

import structlog
from aiohttp import HttpVersion11, StreamReader, hdrs, web
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDictProxy

from collector.logs import place
from collector.problems import Refusal

log = structlog.get_logger("collector.fast_path")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Prebuilt(NamedTuple):
    """A response as bytes: those before the value of the `Date` header, and those after it."""

    before: bytes
    after: bytes


Reply = Callable[[Prebuilt | Refusal | BaseException], None]
"""Callback of a fast handler; called once, with the response or with the exception raised."""

_DECIDED: Final = web.RequestKey("decided", object)
"""Request key of the Refusal or exception that the fast path has decided on."""


def decided(request: web.BaseRequest) -> Refusal | None:
    """The refusal that the fast path has decided on; None if the request is not decided.

    A route's ordinary handler calls this first. Raises the exception that the fast handler raised.
    """
    found = request.get(_DECIDED)
    if isinstance(found, BaseException):
        raise found
    return found if isinstance(found, Refusal) else None


class FastHandler(Protocol):
    """Handler of a route on the fast path."""

    def __call__(
        self, headers: CIMultiDictProxy[str], peer: str, body: bytes, reply: Reply, /
    ) -> None:
        """Handle a request with its whole body from `peer` (an IP address)."""
        ...


@dataclass(frozen=True, slots=True)
class FastPath:
    """Fast handlers by the exact path of a POST; bodies up to `max_body` bytes."""

    handlers: Mapping[str, FastHandler] = field(default_factory=dict)
    max_body: int = 0


FAST_PATH: Final = web.AppKey("fast_path", FastPath)
"""Application key of the fast path."""


class FastRequestHandler(web.RequestHandler):
    """aiohttp's protocol of one connection, with a fast path.

    aiohttp's task (`start`) sleeps on `_waiter` until there is a request. While the fast path
    answers one, `_held` keeps the waiter: the task sleeps on, and further requests queue in
    `_messages`, as they do behind a request that the task answers. The request stays first in
    `_messages` until it is answered here, or the task is woken for it.
    """

    # Private attributes of aiohttp used here: `_waiter`, `_messages`, `_parser.message_consumed`,
    # `_buffer_paused`, `_msg_queue_resume_size`, `_resume_reading_if_drained`, `_close`,
    # `_force_close`, `_request_handler`, `_request_in_progress`, `_handler_waiter`,
    # `_keepalive_timeout`, `_keepalive_handle`, `_next_keepalive_close_time`,
    # `_process_keepalive`; of a body, `_buffer`. tests/service/test_fast_path.py compares both ways
    # byte for byte.
    __slots__ = ("_fast_path", "_held", "_peer")

    def __init__(self, manager: web.Server, *, fast_path: FastPath, **options: Any) -> None:  # noqa: ANN401 - aiohttp's own
        super().__init__(manager, **options)
        self._fast_path = fast_path
        self._held: asyncio.Future[None] | None = None
        self._peer: str | None = None

    async def start(self) -> None:
        """Run aiohttp's task for the requests that the fast path does not take."""
        # Before Python 3.12 the task starts one pass of the loop after the connection: the fast
        # path may have taken the first request by then.
        if self._held is not None:
            await self._held
        await super().start()

    def may_answer(self, method: str) -> bool:
        """Whether a request may be handled now; if not, aiohttp's handler sends the refusal."""
        return True

    def has_answered(self) -> None:
        """Called when a response has been written."""

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, and answer the first request here if it is plain."""
        waiter = self._waiter
        busy = self._request_count > 0 if waiter is None else waiter.done()
        if busy or self._held is not None:
            super().data_received(data)
            return
        # With a waiter, aiohttp would wake its task for a request.
        self._waiter = None
        super().data_received(data)
        self._next(waiter)

    def _next(self, waiter: asyncio.Future[None] | None) -> None:
        """Answer the first queued request here, or wake the task for it.

        `waiter` is the future that the task sleeps on; None if the task has not started.
        """
        if self._messages and self._take(waiter):
            return
        if not self._messages:
            self._waiter = waiter
        elif waiter is not None:
            # `_waiter` stays None, as it is while the task handles a request.
            waiter.set_result(None)

    def _take(self, waiter: asyncio.Future[None] | None) -> bool:
        """Pass the first queued request to its fast handler; False if the request is not plain."""
        message, payload = self._messages[0]
        if (
            type(message) is not RawRequestMessage
            or message.method != hdrs.METH_POST
            or (handler := self._fast_path.handlers.get(message.path)) is None
            or not payload.is_eof()
            or payload.exception() is not None
            or payload.total_bytes > self._fast_path.max_body
            or message.version != HttpVersion11
            or message.should_close
            or message.upgrade
            or message.chunked
            or hdrs.EXPECT in message.headers
            # aiohttp waits for a client that does not read its responses.
            or self.writing_paused
            or not self.may_answer(message.method)
        ):
            return False
        self._held = waiter or self._loop.create_future()
        self._request_in_progress = True
        if self._manager is not None:
            self._manager.requests_count += 1
        try:
            handler(message.headers, self._address(), _body(payload), self._reply)
        except Exception as error:  # noqa: BLE001 - as in aiohttp, it concerns one request only
            self._reply(error)
        return True

    def _address(self) -> str:
        """The peer's IP address, as in `web.Request.remote`."""
        if self._peer is None:
            peer = self.peername
            self._peer = "" if peer is None else peer if isinstance(peer, str) else str(peer[0])
        return self._peer

    def _reply(self, answer: Prebuilt | Refusal | BaseException) -> None:
        waiter, self._held = self._held, None
        if waiter is None:
            raise RuntimeError("a request is answered once")
        if self.transport is None or self.transport.is_closing() or waiter.done():
            # The client has disconnected, or a shutdown has timed out.
            if isinstance(answer, BaseException):
                log.error("error handling a request", place=place(answer))
            self._answered()
            waiter.cancel()
        elif isinstance(answer, Prebuilt):
            self.transport.write(answer.before + _date() + answer.after)
            self._consume()
            self._answered()
            self.has_answered()
            self._go_on(waiter)
        else:
            self._let_aiohttp_answer(answer)
            waiter.set_result(None)

    def _let_aiohttp_answer(self, answer: Refusal | BaseException) -> None:
        """Make the route's ordinary handler answer the first queued request with `answer`."""
        # It is None only when the connection is lost, and then no request is answered.
        handler = cast("Handler", self._request_handler)

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            self._request_handler = handler
            request[_DECIDED] = answer
            return await handler(request)

        self._request_handler = handle

    def _consume(self) -> None:
        """Remove the first request from the queue, as `start` does."""
        self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()

    def _answered(self) -> None:
        """Wake a shutdown that waits for this request, as `_handle_request` does."""
        self._request_in_progress = False
        if self._handler_waiter is not None:
            self._handler_waiter.set_result(None)

    def _go_on(self, waiter: asyncio.Future[None]) -> None:
        """Wait for the next request, or close, as `start` does after a response."""
        if self._close or self._force_close:
            waiter.cancel()
            if self.transport is not None:
                self.transport.close()
            return
        at = self._loop.time() + self._keepalive_timeout
        self._next_keepalive_close_time = at
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(at, self._process_keepalive)
        self._next(waiter)


def _body(payload: StreamReader) -> bytes:
    """The bytes of a complete body that has not been read.

    `read_nowait` would resume the parser, which is not needed.
    """
    return b"".join(payload._buffer) if payload.total_bytes else b""  # noqa: SLF001


class _Clock:
    """The value of `Date` headers, formatted once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._date = b""

    def __call__(self) -> bytes:
        if (second := int(time.time())) != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date


_date: Final = _Clock()
