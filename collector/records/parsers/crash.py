"""Parser of crashes of programs (`org.clearlinux/crash/…`): process, signal, guilty function."""

from __future__ import annotations

import re
from typing import Final

from collector.records.parsers import Parsed
from collector.records.parsers.frames import first_backtrace, guilty, shortened
from collector.records.parsers.never_guilty import NeverGuilty
from collector.settings import Settings

_HEAD: Final = re.compile(r"^(?P<name>Process|PID|Signal|Error):(?P<value>.+)$", re.MULTILINE)
KIND: Final = "crash"


class Crash:
    """Reads backtraces; the label is the guilty frame."""

    prefixes = ("org.clearlinux/crash/",)

    def __init__(self, settings: Settings) -> None:
        self._never = NeverGuilty(settings.telemetrics_never_guilty)

    @property
    def version(self) -> str:
        """Changes with the list of never-guilty functions."""
        self._never.refresh()
        return f"1-{self._never.digest}"

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
