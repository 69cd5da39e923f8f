"""A lock on the SQLite file of a directory: shared by its users, exclusive while it is replaced.

SQLite removes the log by its name when the last connection closes: one to a file that was moved
away would remove the log of the file that took its place. The lock (flock) is on the directory:
no file of its own could come to belong to whoever runs a command first.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from collector.sqlite.errors import StoreUnavailable

_PATIENCE_S: Final = 15.0
_PAUSE_S: Final = 0.02


class Hold:
    """One share in the file of a directory, from construction to `let_go`.

    Raises StoreUnavailable where it cannot be had in 15 s, OSError where the directory cannot be
    opened.
    """

    def __init__(self, directory: Path, *, alone: bool = False) -> None:
        self._handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        how = (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(self._handle, how)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    self.let_go()
                    raise StoreUnavailable(
                        f"another command is at work on the files in {directory}"
                    ) from None
                time.sleep(_PAUSE_S)
            else:
                return

    def let_go(self) -> None:
        """Give it up."""
        os.close(self._handle)


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """While it lasts no process has the file of a directory open. Raises as Hold does."""
    hold = Hold(directory, alone=True)
    try:
        yield
    finally:
        hold.let_go()
