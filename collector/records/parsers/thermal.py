"""Parser of thermal events (`org.clearlinux/mce/thermal`)."""

from __future__ import annotations

import re
from typing import Final

from collector.records.parsers import FixedParser, Parsed
from collector.records.parsers.frames import shortened

_PROCESSOR: Final = re.compile(r"\b(?:CPU|Processor|Core)[ #:]*(?P<number>\d+)", re.IGNORECASE)
_COOLED: Final = re.compile(r"below trip|back to normal|normal temperature|disabled", re.IGNORECASE)
_HEATED: Final = re.compile(r"above|throttl|thermal|heated|exceed", re.IGNORECASE)
KIND: Final = "thermal"


class Thermal(FixedParser):
    """Extracts the throttled processors; the label is `throttled` or `back to normal`."""

    prefixes = ("org.clearlinux/mce/thermal",)

    def parse(self, text: str) -> Parsed | None:
        """The processors of a payload, and whether the last event is about heat or its end."""
        text = shortened(text)
        numbers = sorted({int(found["number"]) for found in _PROCESSOR.finditer(text)})
        state = None
        for line in text.splitlines():
            if _COOLED.search(line):
                state = "back to normal"
            elif _HEATED.search(line):
                state = "throttled"
        if state is None:
            return None
        return Parsed(KIND, state, {"processors": numbers})
