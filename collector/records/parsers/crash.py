"""Parser of crashes of programs (`org.clearlinux/crash/…`): process, signal, guilty function."""

from __future__ import annotations

import re
from typing import Final

from collector.records.parsers import Parsed
from collector.records.parsers.frames import first_backtrace, guilty, shortened
from collector.records.parsers.never_guilty import GuiltyFrameParser

_HEAD: Final = re.compile(r"^(?P<name>Process|PID|Signal|Error):(?P<value>.+)$", re.MULTILINE)
KIND: Final = "crash"


class Crash(GuiltyFrameParser):
    """Reads backtraces; the label is the guilty frame."""

    prefixes = ("org.clearlinux/crash/",)

    def parse(self, text: str) -> Parsed | None:
        """The guilty frame of the crashing thread, and all its frames."""
        text = shortened(text)
        frames = first_backtrace(text)
        found = guilty(frames, self._never.holds)
        if found is None:
            return None
        head = {one["name"].lower(): one["value"].strip() for one in _HEAD.finditer(text)}
        detail = {
            "function": found.function,
            "module": found.module,
            "process": head.get("process", ""),
            "signal": head.get("signal", ""),
            "frames": [str(frame) for frame in frames],
        }
        return Parsed(KIND, str(found), detail)
