"""Signals between the workers of a collector, through files in the state directory."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from collector.worker import Worker

_CHECK_S: Final = 1.0


class Signals:
    """Notifies other workers of changes within 1 s, through files whose content changes."""

    def __init__(self, state_dir: Path, worker: Worker) -> None:
        self._state_dir = state_dir
        self._worker = worker
        self._heard: dict[Path, Callable[[], None]] = {}

    def rolled(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Return a function to call when a day was rolled up here.

        It calls `changed` here; the other workers call theirs.
        """
        return self._signal("rolled", changed, hears=not self._worker.first)

    def erased(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Return a function to call when raw reports were erased here.

        It calls `changed` here; the first worker calls its own.
        """
        return self._signal("erased", changed, hears=self._worker.first)

    async def run(self) -> None:
        """Watch for notifications, until cancelled."""
        if self._worker.of == 1:
            return
        seen = {path: _touched(path) for path in self._heard}
        while True:
            await asyncio.sleep(_CHECK_S)
            for path, changed in self._heard.items():
                if (at := _touched(path)) != seen[path]:
                    seen[path] = at
                    changed()

    def _signal(self, name: str, changed: Callable[[], None], *, hears: bool) -> Callable[[], None]:
        if self._worker.of == 1:
            return changed
        path = self._state_dir / f"{name}.signal"
        if hears:
            self._heard[path] = changed

        def signal() -> None:
            changed()
            with contextlib.suppress(OSError):
                # Within one tick of the disk's clock only the content shows a second change.
                path.write_text(str(time.time_ns()))

        return signal


def _touched(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
