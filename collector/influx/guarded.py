"""Bodies of requests that write, which are checked at the moment when they are sent."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload

Guard = Callable[[], None]
"""A function that raises an error if nothing may be written now."""


def allowed() -> None:
    """Allow every write."""


class GuardedBody(BytesPayload):
    """A body that is not sent if `guard` raises an error then.

    Between the start of a request and its sending a connection may have to be made, or the process
    may be stopped for long. The request then fails with `aiohttp.ClientConnectionError`.
    """

    def __init__(self, value: bytes, guard: Guard, *, content_type: str) -> None:
        super().__init__(value, content_type=content_type)
        self._guard = guard

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Check, and send at once."""
        self._guard()
        await super().write_with_length(writer, content_length)
