"""Lock on a directory's SQLite file: shared while it is open, exclusive while it is replaced.

SQLite deletes the log by name when the last connection closes. A connection to a file that was
moved away would delete the log of the new file. The lock (flock) is on the directory itself, since
a lock file might belong to another user who ran a command first.
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


@contextmanager
def directory_lock(directory: Path, *, exclusive: bool = False) -> Iterator[None]:
    """Hold the lock of a directory, shared or `exclusive`.

    While it is held exclusively, no process has the file open. Raises StoreUnavailable if it cannot
    be had within 15 s, OSError if the directory cannot be opened.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while not try_lock(handle, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH):
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"another command is at work on the files in {directory}")
            time.sleep(_PAUSE_S)
        yield
    finally:
        os.close(handle)


def try_lock(handle: int, how: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file (flock) unless another process has it; return whether it is locked now."""
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def log_of(path: Path) -> Path:
    """Return the path of the write-ahead log of an SQLite file."""
    return Path(f"{path}-wal")


def sync(directory: Path) -> None:
    """Write a directory's names to the disk: a file moved into it survives a power cut."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
