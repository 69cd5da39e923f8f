"""A worker among those of a collector: its number, its settings and its state directory.

Every worker receives reports on its own sockets (SO_REUSEPORT: the kernel distributes the
connections), stores them in its own outbox, and delivers them. The first worker also does what only
one process may do: it fetches the node list, and in `serve` it rolls up the days.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from collector.settings import Settings

_FOLDER: Final = "worker-"


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker: its number, of how many, and its bound sockets (none: it binds its own).

    `statsd` are sockets for StatsD, each with the place of its address in COLLECTOR_STATSD_LISTEN.
    """

    number: int = 0
    of: int = 1
    listening: tuple[socket.socket, ...] = ()
    statsd: tuple[tuple[int, socket.socket], ...] = ()

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


ONLY_WORKER: Final = Worker()
"""The only worker, which does all the work."""


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
