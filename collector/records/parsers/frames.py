"""Backtraces in payloads: their frames, and the guilty frame. Pure.

A frame is `#0 function() - [module] - file:line`, as telemetrics-client's crash and kernel probes
write it; `???` is a function without symbols.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

_FRAME: Final = re.compile(r"#\d+ (?P<function>.+?) - \[(?P<module>[^\]]{0,200})\]")
_NO_SYMBOLS: Final = re.compile(r"#\d+ \(no symbols\)")
UNKNOWN: Final = "???"
MOST_FRAMES: Final = 500
_LONGEST_LINE: Final = 1000


class Frame(NamedTuple):
    """A function (without its parentheses) and the module that it is in."""

    function: str
    module: str

    def __str__(self) -> str:
        return f"{self.function} - [{self.module}]" if self.module else self.function

    @property
    def is_unknown(self) -> bool:
        """Whether the function has no symbols."""
        return self.function == UNKNOWN or self.function.startswith("? ")


def first_backtrace(text: str) -> list[Frame]:
    """The frames of the first backtrace, the crashing thread's, innermost first; at most 500."""
    frames: list[Frame] = []
    for line in map(str.strip, text.splitlines()):
        if (found := _FRAME.match(line)) is not None:
            frames.append(Frame(found["function"].removesuffix("()"), found["module"]))
        elif _NO_SYMBOLS.match(line):
            frames.append(Frame(UNKNOWN, ""))
        elif frames:
            break
        if len(frames) == MOST_FRAMES:
            break
    return frames


def shortened(text: str) -> str:
    """A payload with its lines cut at 1000 characters, to bound the time of patterns."""
    return "\n".join(line[:_LONGEST_LINE] for line in text.splitlines())


def guilty(frames: Sequence[Frame], never: Callable[[Frame], bool]) -> Frame | None:
    """The first frame with symbols for which `never` is false.

    If there is none, the first frame without symbols, else the last frame; None without frames.
    """
    unknown = None
    for frame in frames:
        if never(frame):
            continue
        if not frame.is_unknown:
            return frame
        unknown = unknown or frame
    return unknown or (frames[-1] if frames else None)
