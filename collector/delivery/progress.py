"""Progress of a loop: a metric for each reason that may stop it, and log lines on a change."""

from __future__ import annotations

import random
import re
from typing import Final

import structlog

from collector.backoff import backoff
from collector.metrics import Metrics
from collector.outbox import Queue

log = structlog.get_logger("collector.delivery")

_FIRST_PAUSE_S: Final = 0.2
_PSEUDONYM: Final = re.compile(r"[0-9a-f]{16}")


def without_pseudonyms(words: str) -> str:
    """Replace pseudonyms in a target's error text, which may quote a line, for the log."""
    return _PSEUDONYM.sub("(pseudonym)", words)


def pause_s(failures: int, asked_s: float | None, *, most_s: float) -> float:
    """Return the pause in s after failures in a row: as the target asked for, or a growing one."""
    jitter = random.random()  # noqa: S311 - jitter is no secret
    wait = asked_s or backoff(failures, first_s=_FIRST_PAUSE_S, most_s=most_s, jitter=jitter)
    return min(wait, most_s)


class Progress:
    """Progress of a loop to the target of `queue`; `reasons` are those that may stop it.

    `words` are those of the log.
    """

    def __init__(
        self,
        metrics: Metrics,
        queue: Queue,
        *reasons: str,
        words: str = "no progress to a target; reports wait in the outbox",
    ) -> None:
        self._metrics = metrics
        self._queue = queue
        self._words = words
        self.reason: str | None = None
        """The word of what stops the loop now, or None."""
        for reason in reasons:
            metrics.writer_blocked.labels(queue, reason).set(0)

    def blocked(self, reason: str, words: str) -> None:
        """Note that the loop makes no progress, with one word and the target's error text."""
        if self.reason != reason:
            self._clear()
            log.error(self._words, target=self._queue, reason=reason, why=without_pseudonyms(words))
        self.reason = reason
        self._metrics.writer_blocked.labels(self._queue, reason).set(1)

    def made(self) -> None:
        """Note that the loop makes progress."""
        if self._clear():
            log.info("progress to the target again", target=self._queue)

    def set_aside(self, lines: int, why: str) -> None:
        """Log lines that the target refuses for good, with one line's error text."""
        why = without_pseudonyms(why)
        log.error("lines set aside", reason="dead-letter", target=self._queue, lines=lines, why=why)

    def _clear(self) -> bool:
        was, self.reason = self.reason, None
        if was is not None:
            self._metrics.writer_blocked.labels(self._queue, was).set(0)
        return was is not None
