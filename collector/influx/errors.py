"""Errors of InfluxDB, classified by remedy: waiting, creating a database, or neither."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final


class InfluxError(Exception):
    """A request to InfluxDB failed or was refused; the text gives the reason."""


class InfluxUnavailable(InfluxError):
    """InfluxDB cannot be reached or cannot answer now; the same request may succeed later."""


class CutShort(InfluxUnavailable):
    """A response lacks rows; the rows received must not be used."""


class NoDatabase(InfluxError):
    """The database or bucket does not exist, or this token may not see it."""


_PASSING: Final = (
    # A shard or a database is being deleted, by retention as well.
    "engine is closed",
    "shard is closed",
    "max-concurrent-queries limit exceeded",
    "queue length exceeded",
    "server shutting down",
    "query aborted",
    "query engine shutdown",
)
_LIMITS: Final = (
    "limit exceeded",
    "query killed",
    "query interrupted",
    # Stands for the statements after one that failed, or replaces its own error text.
    "not executed",
    "timeout",
)
_MAKER: Final = "`collector serve` makes what its settings need; is COLLECTOR_INFLUX_PREFIX right?"
_ABSENT: Final = ("database not found", "no dbrp mapping found")


def failure(words: str, status: int | None = None) -> InfluxError:
    """Convert an error text of a query, and the HTTP status if not 200, to an exception."""
    text = words if status is None else f"InfluxDB answers {status}: {words}"
    if any(part in words for part in _PASSING):
        return InfluxUnavailable(text)
    if any(part in words for part in _LIMITS):
        return CutShort(text)
    if any(part in words for part in _ABSENT):
        return NoDatabase(f"{text} ({_MAKER})")
    return InfluxUnavailable(text) if status is not None and passes(status) else InfluxError(text)


def passes(status: int) -> bool:
    """Whether an HTTP status is that of a failure that passes."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in (
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.REQUEST_TIMEOUT,
    )
