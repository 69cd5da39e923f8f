"""Logging: one line per event, as text or JSON, without addresses, UUIDs, node numbers, secrets."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections import Counter
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from collector.redaction import redacted

_SPARING_S: Final = 60.0
_PER_MINUTE: Final = 60
_FOREIGN_ADDRESS = "Error handling request from %s"


class _WithoutSender(logging.Filter):
    """A log filter that removes the sender's address and data from aiohttp's messages.

    The text of an exception may repeat what was sent, so only its type and place are logged.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("aiohttp"):
            return True
        # A record of aiohttp means that it is loaded; commands without it must not load it to log.
        from aiohttp.http_exceptions import HttpProcessingError  # noqa: PLC0415

        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.levelno, record.levelname = logging.INFO, "INFO"
            record.msg, record.args = f"not HTTP: {type(error).__name__}", None
        elif record.msg == _FOREIGN_ADDRESS:
            record.msg, record.args = "error handling a request", None
        if error is not None:
            if not isinstance(error, HttpProcessingError):
                record.msg = f"{record.msg}: {place(error)}"
            record.exc_info = None
        return True


def place(error: BaseException) -> str:
    """The type of an exception and the functions and lines it passed; for a group, of its first.

    The exception's text is left out, since it may repeat what was sent.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = traceback.extract_tb(error.__traceback__)
    path = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__} in {path}" if path else type(error).__name__


class Sparing:
    """A rate limit for log lines that strangers cause, so that they cannot fill the disk.

    It allows 60 lines of each reason a minute. The next line that is logged gives the number of
    those that were suppressed, as `held_back`.
    """

    def __init__(self) -> None:
        self._until = 0.0
        self._logged: Counter[str] = Counter()
        self._held: Counter[str] = Counter()

    def info(self, log: Any, event: str, *, reason: str, **more: object) -> None:  # noqa: ANN401 - structlog's own type
        """Log an event, unless `reason` (one of a few fixed words) has used up its lines."""
        now = time.monotonic()
        if now >= self._until:
            self._until = now + _SPARING_S
            self._logged.clear()
        if self._logged[reason] >= _PER_MINUTE:
            self._held[reason] += 1
            return
        self._logged[reason] += 1
        if held := self._held.pop(reason, 0):
            more["held_back"] = held
        log.info(event, reason=reason, **more)


def _on_one_line(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    return {
        key: " | ".join(value.splitlines()) if isinstance(value, str) else value
        for key, value in event.items()
    }


def _without_secrets(_logger: object, _method: str, line: Any) -> str:  # noqa: ANN401 - structlog's
    """Hide the secrets in a finished line, tracebacks included."""
    return redacted(str(line))


def configure(*, form: str, level: str) -> None:
    """Configure all loggers to write to stderr. `form` is `text` (logfmt) or `json`."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
        _on_one_line,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.processors.LogfmtRenderer(
            key_order=["time", "level", "logger", "event"], bool_as_flag=False
        )
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_WithoutSender())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                renderer,
                _without_secrets,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # Alembic logs its plug-ins and dialect each time it is asked whether there is a migration.
    logging.getLogger("alembic").setLevel(max(logging.WARNING, logging.root.level))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
