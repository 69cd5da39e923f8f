"""Signals between the processes of a collector, through files in the state directory."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_CHECK_S: Final = 1.0
ROLLED: Final = "rolled"
"""Signal that a day was rolled up."""
ERASED: Final = "erased"
"""Signal that raw reports were erased."""


class Signals:
    """Notifies the processes of a state directory of changes, within 1 s, through its files.

    `alone` is whether this process does all of a collector's work, so that no other listens.
    """

    def __init__(self, state_dir: Path, *, alone: bool) -> None:
        self._state_dir = state_dir
        self._alone = alone
        self._heard: dict[str, Callable[[], None]] = {}
        self._seen: dict[str, str] = {}

    def listen(self, name: str, changed: Callable[[], None]) -> None:
        """Call `changed` at each signal of this name, from here or from another process."""
        self._heard[name] = changed
        self._seen[name] = self._told(name)

    def tell(self, name: str) -> None:
        """Send a signal to all processes, this one included."""
        if not self._alone:
            # Within one tick of the disk's clock only the content shows a second change.
            self._seen[name] = str(time.time_ns())
            with contextlib.suppress(OSError):
                self._path(name).write_text(self._seen[name])
        if name in self._heard:
            self._heard[name]()

    async def run(self) -> None:
        """Watch for notifications, until cancelled."""
        while not self._alone:
            await asyncio.sleep(_CHECK_S)
            for name, changed in self._heard.items():
                if (at := self._told(name)) != self._seen[name]:
                    self._seen[name] = at
                    changed()

    def _told(self, name: str) -> str:
        try:
            return self._path(name).read_text()
        except OSError:
            return ""

    def _path(self, name: str) -> Path:
        return self._state_dir / f"{name}.signal"
