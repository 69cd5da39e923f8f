"""Output of the demo of a cluster: lines with their times, and a table of counts in plain text."""

from __future__ import annotations

import time
from typing import Final

from rich.console import Console
from rich.text import Text

from tools.cluster.counts import Counts

_HEADS_EVERY: Final = 20
_HEADS: Final = (
    *(" time", "  sent", "acknowledged", "outboxes", "stream", "stored"),
    *("lost", "doubled", "days", "lease"),
)
"""A row fits into 80 columns."""


class Screen:
    """Prints lines with the time since the demo's start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = time.monotonic()
        self._rows = 0

    def say(self, words: str, style: str = "") -> None:
        """Print a line."""
        self._console.print(Text(f"{self._time}  {words}", style=style), soft_wrap=True)

    def plain(self, words: str = "", style: str = "") -> None:
        """Print a line without the time."""
        self._console.print(Text(words, style=style), soft_wrap=True)

    def row(self, counts: Counts) -> None:
        """Print counts as a row of a table, whose head is repeated now and then."""
        if self._rows % _HEADS_EVERY == 0:
            self.plain(" ".join(_HEADS), style="bold")
        self._rows += 1
        told = (
            *(counts.sent, counts.acknowledged, counts.in_outboxes, counts.in_stream),
            *(counts.stored, counts.lost, counts.doubled, counts.days),
        )
        cells = [
            self._time.rjust(len(_HEADS[0])),
            *(
                ("away" if number is None else f"{number:,}").rjust(len(head))
                for number, head in zip(told, _HEADS[1:], strict=False)
            ),
            counts.leader or "nobody",
        ]
        bad = bool(counts.lost or counts.doubled)
        self.plain(" ".join(cells), style="bold red" if bad else "")

    @property
    def _time(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._begun), 60)
        return f"{minutes}:{seconds:02}"
