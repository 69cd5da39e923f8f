"""Fast path for plain requests: answered from `data_received`, without aiohttp's request objects.

aiohttp's parser reads every request. One that is plain (see `_take`) goes straight to the route's
function, and its answer is one prebuilt write; a task, a request, a response and a route lookup
cost more than what a report means (docs/decisions/0053). Everything else is left to aiohttp,
untouched: other routes, bodies that arrive in pieces, chunks, `Expect`, HTTP/1.0, whatever closes
the connection. A request that the fast path has decided to refuse is answered by aiohttp too, from
that decision (`decided`), so that refusals have one form.
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

log = structlog.get_logger("collector.fast")

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Prebuilt(NamedTuple):
    """An answer for the wire: what comes before the value of `Date`, and what comes after it."""

    before: bytes
    after: bytes


Reply = Callable[[Prebuilt | Refusal | BaseException], None]
"""Called once, at any time: with an answer, or the exception that handling the request raised."""

_DECIDED: Final = web.RequestKey("decided", object)
"""Set in a request that the fast path has decided: the Refusal or exception to answer with."""


def decided(request: web.BaseRequest) -> Refusal | None:
    """The refusal that the fast path has decided on; None where the request is to be handled.

    A route's ordinary handler asks this first. Raises what the fast handler raised.
    """
    found = request.get(_DECIDED)
    if isinstance(found, BaseException):
        raise found
    return found if isinstance(found, Refusal) else None


class FastHandler(Protocol):
    """A route's function on the fast path."""

    def __call__(
        self, headers: CIMultiDictProxy[str], peer: str, body: bytes, reply: Reply, /
    ) -> None:
        """Take a request from `peer` (an address), whose whole body is here."""
        ...


@dataclass(frozen=True, slots=True)
class FastPath:
    """Handlers of the fast path, by the exact path of a POST; bodies up to `max_body` bytes."""

    handlers: Mapping[str, FastHandler] = field(default_factory=dict)
    max_body: int = 0


FAST_PATH: Final = web.AppKey("fast_path", FastPath)
"""Where an application holds its fast path."""


class FastRequestHandler(web.RequestHandler):
    """aiohttp's protocol of one connection, with a fast path.

    aiohttp's own task (`start`) sleeps on `_waiter` until there is a request. While the fast path
    answers one, `_waiter` is held back: the task sleeps on, and further requests queue in
    `_messages` as they do behind a request that the task answers. The request itself stays first in
    `_messages` until it is answered here, or the task is woken for it.
    """

    # Private to aiohttp, and used here: `_waiter`, `_messages`, `_parser.message_consumed`,
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
        """Answer what the fast path leaves."""
        # Before Python 3.12 the task begins a pass later than the connection: the fast path may
        # have taken the first request by then.
        if self._held is not None:
            await self._held
        await super().start()

    def may_answer(self, method: str) -> bool:
        """Whether a request may be handled now; where not, aiohttp's handlers say why."""
        return True

    def has_answered(self) -> None:
        """Called when an answer has been written."""

    def data_received(self, data: bytes) -> None:
        """Take bytes from the wire."""
        waiter = self._waiter
        busy = self._request_count > 0 if waiter is None else waiter.done()
        if busy or self._held is not None:
            super().data_received(data)
            return
        # aiohttp would wake its task for a request.
        self._waiter = None
        super().data_received(data)
        self._next(waiter)

    def _next(self, waiter: asyncio.Future[None] | None) -> None:
        """Answer the first request of the queue here, or have the task see to it.

        `waiter`: what the task sleeps on; None where it has not begun.
        """
        if self._messages and self._take(waiter):
            return
        if not self._messages:
            self._waiter = waiter
        elif waiter is not None:
            # `_waiter` stays None, as the task leaves it while it is at work.
            waiter.set_result(None)

    def _take(self, waiter: asyncio.Future[None] | None) -> bool:
        """Begin to answer the first request of the queue, if it is plain; False where it is not."""
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
            # A sender that takes no answers is aiohttp's to wait for.
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
        except Exception as error:  # noqa: BLE001 - as aiohttp does: a fault of one request
            self._reply(error)
        return True

    def _address(self) -> str:
        """The peer's address, as `web.Request.remote` has it."""
        if self._peer is None:
            peer = self.peername
            self._peer = "" if peer is None else peer if isinstance(peer, str) else str(peer[0])
        return self._peer

    def _reply(self, answer: Prebuilt | Refusal | BaseException) -> None:
        waiter, self._held = self._held, None
        if waiter is None:
            raise RuntimeError("a request is answered once")
        if self.transport is None or self.transport.is_closing() or waiter.done():
            # The sender has gone, or a shutdown has waited long enough.
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
        """Have the route's own handler answer the first request of the queue, as decided."""
        # It is None once the connection is lost, and then nothing is answered.
        handler = cast("Handler", self._request_handler)

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            self._request_handler = handler
            request[_DECIDED] = answer
            return await handler(request)

        self._request_handler = handle

    def _consume(self) -> None:
        """Take the first request off the queue, as `start` does."""
        self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()

    def _answered(self) -> None:
        """Tell a shutdown that waits for this request, as `_handle_request` does."""
        self._request_in_progress = False
        if self._handler_waiter is not None:
            self._handler_waiter.set_result(None)

    def _go_on(self, waiter: asyncio.Future[None]) -> None:
        """Wait for the next request, or close, as `start` does after an answer."""
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
    """A body that is here whole, of which nothing has been read.

    `read_nowait` would have the parser run a second time, for more to come.
    """
    return b"".join(payload._buffer) if payload.total_bytes else b""  # noqa: SLF001


class _Clock:
    """The `Date` of answers, made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._date = b""

    def __call__(self) -> bytes:
        if (second := int(time.time())) != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date


_date: Final = _Clock()
