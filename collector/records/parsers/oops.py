"""Parser of kernel oopses (`org.clearlinux/kernel/…`): reason and guilty function."""

from __future__ import annotations

import re
from typing import Final

from collector.records.parsers import Parsed
from collector.records.parsers.frames import MOST_FRAMES, Frame, first_backtrace, guilty, shortened
from collector.records.parsers.never_guilty import GuiltyFrameParser

_REASON: Final = re.compile(r"^Reason:(.+)$", re.MULTILINE)
_FALLBACK: Final = re.compile(
    r"^.*?((?:BUG|WARNING|kernel BUG|Oops|general protection fault|Kernel panic)\b.*)$",
    re.MULTILINE,
)
_POINTER: Final = re.compile(
    r"\b(?:RIP|EIP|IP|PC is at|pc :)[: ].{0,40}?(?P<function>[A-Za-z_][\w.]{0,100})\+0x[0-9a-f]+"
)
_CALL: Final = re.compile(
    r"^(?:\[[ \d.]+\])?[ \t]*(?:\[<[0-9a-f]+>\] )?(?P<doubt>\? )?(?P<function>[A-Za-z_][\w.]*)"
    r"\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[(?P<module>[^\]]+)\])?",
    re.MULTILINE,
)
_KERNEL: Final = "kernel"
KIND: Final = "oops"


class Oops(GuiltyFrameParser):
    """Reads the reason and the call trace; the label is the guilty frame, else the reason."""

    prefixes = ("org.clearlinux/kernel/",)

    def parse(self, text: str) -> Parsed | None:
        """The guilty frame, in the probe's form of a trace or in the kernel's own."""
        text = shortened(text)
        reason = _REASON.search(text) or _FALLBACK.search(text)
        frames = first_backtrace(text) or _kernel_trace(text)
        found = guilty(frames, self._never.holds)
        if found is None and reason is None:
            return None
        words = "" if reason is None else reason[1].strip()
        detail = {
            "reason": words,
            "function": "" if found is None else found.function,
            "module": "" if found is None else found.module,
            "frames": [str(frame) for frame in frames],
        }
        return Parsed(KIND, words if found is None else str(found), detail)


def _kernel_trace(text: str) -> list[Frame]:
    """Frames of a kernel's own trace: instruction pointer and calls, without doubtful ones."""
    frames = [Frame(found["function"], _KERNEL) for found in [_POINTER.search(text)] if found]
    for call in _CALL.finditer(text):
        if call["doubt"] is None:
            frames.append(Frame(call["function"], call["module"] or _KERNEL))
        if len(frames) >= MOST_FRAMES:
            break
    return frames
