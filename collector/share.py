"""Division of a collector's work among several worker processes; see collector.workers.

Every worker receives reports on its own sockets (SO_REUSEPORT: the kernel distributes the
connections), stores them in its own outbox, and delivers them. The first worker also rolls up the
days and fetches the node list.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from collector.settings import Settings

_FOLDER: Final = "worker-"
_LISTEN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Share:
    """One worker: its number, of how many, and its bound sockets (none: it binds its own)."""

    number: int = 0
    of: int = 1
    listening: tuple[socket.socket, ...] = ()

    @property
    def first(self) -> bool:
        """Whether this is the worker that does what only one process may do."""
        return self.number == 0

    def settings(self, whole: Settings) -> Settings:
        """Return this worker's settings: its own state directory, and its part of the limits."""
        if self.of == 1:
            return whole
        own: dict[str, Any] = {
            "instance": whole.instance + self.number,
            "pseudonym_key_file": whole.key_file,
            "max_connections": _part(whole.max_connections, self.of),
            "rate_limit": _part(whole.rate_limit, self.of),
            "outbox_max": _part(whole.outbox_max, self.of),
        }
        if not self.first:
            own["state_dir"] = directory(whole.state_dir, self.number)
        return whole.model_copy(update=own)


ALONE: Final = Share()
"""The only worker, which does all the work."""


class Signals:
    """Notifies other workers of changes within 1 s, through files whose content changes."""

    def __init__(self, state_dir: Path, share: Share) -> None:
        self._state_dir = state_dir
        self._share = share
        self._heard: dict[Path, Callable[[], None]] = {}

    def rolled(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Return a function to call when a day was rolled up here.

        It calls `changed` here; the other workers call theirs.
        """
        return self._signal("rolled", changed, hears=not self._share.first)

    def erased(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Return a function to call when raw reports were erased here.

        It calls `changed` here; the first worker calls its own.
        """
        return self._signal("erased", changed, hears=self._share.first)

    async def run(self) -> None:
        """Watch for notifications, until cancelled."""
        if self._share.of == 1:
            return
        seen = {path: _touched(path) for path in self._heard}
        while True:
            await asyncio.sleep(_LISTEN_S)
            for path, changed in self._heard.items():
                if (at := _touched(path)) != seen[path]:
                    seen[path] = at
                    changed()

    def _signal(self, name: str, changed: Callable[[], None], *, hears: bool) -> Callable[[], None]:
        if self._share.of == 1:
            return changed
        path = self._state_dir / f"{name}.signal"
        if hears:
            self._heard[path] = changed

        def told() -> None:
            changed()
            with contextlib.suppress(OSError):
                # Within one tick of the disk's clock only the content shows a second change.
                path.write_text(str(time.time_ns()))

        return told


def _touched(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def directory(state_dir: Path, number: int) -> Path:
    """Return the state directory of a worker."""
    return state_dir if number == 0 else state_dir / f"{_FOLDER}{number}"


def directories(state_dir: Path) -> list[Path]:
    """List the state directories of all workers that ever ran, the first worker's first."""
    return [state_dir, *(path for _, path in sorted(_others(state_dir)))]


def abandoned(state_dir: Path, workers: int) -> list[Path]:
    """List the state directories of workers beyond the current number of `workers`."""
    return [path for number, path in sorted(_others(state_dir)) if number >= workers]


def _others(state_dir: Path) -> Iterator[tuple[int, Path]]:
    for path in state_dir.glob(f"{_FOLDER}*"):
        number = path.name.removeprefix(_FOLDER)
        if number.isdecimal() and path.is_dir():
            yield int(number), path


def _part(whole: int, of: int) -> int:
    return math.ceil(whole / of)
