"""Logs: one line an event, text or JSON. No address, UUID or node number ever gets in."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_FOREIGN_ADDRESS = "Error handling request from %s"


class _WithoutAddress(logging.Filter):
    """Drops the sender's address from aiohttp's own words about a failed request."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg == _FOREIGN_ADDRESS:
            record.msg, record.args = "error handling a request", None
        return True


def _on_one_line(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    return {
        key: " | ".join(value.splitlines()) if isinstance(value, str) else value
        for key, value in event.items()
    }


def configure(*, form: str, level: str) -> None:
    """Send every logger's events to stderr. `form`: text (logfmt) or json."""
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
    handler.addFilter(_WithoutAddress())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
