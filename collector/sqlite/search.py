"""A search for bytes anywhere in an SQLite file and its log, made by another process.

SQLite's locks are the process's: whoever opens and closes the file beside SQLite drops them, and
another process may then take the log away from under us (https://sqlite.org/howtocorrupt.html,
section 2.2).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from collector.sqlite.errors import StoreUnavailable

_FOUND: Final = 10
_LONGEST_S: Final = 120
_SCRIPT: Final = f"""
import sys
wanted = [bytes.fromhex(word) for word in sys.stdin.read().split()]
overlap = max(map(len, wanted)) - 1
for path in sys.argv[1:]:
    try:
        reader = open(path, "rb")
    except FileNotFoundError:
        continue
    with reader:
        seen = b""
        while piece := reader.read(1 << 22):
            seen = seen[-overlap:] + piece
            if any(word in seen for word in wanted):
                sys.exit({_FOUND})
"""


def holds(path: Path, traces: Iterable[bytes]) -> bool:
    """Whether a file or its log holds any of these strings of two bytes or more.

    Raises StoreUnavailable where that cannot be told.
    """
    wanted = " ".join(trace.hex() for trace in traces)
    if not wanted:
        return False
    command = [sys.executable, "-I", "-S", "-c", _SCRIPT, str(path), f"{path}-wal"]
    try:
        ended = subprocess.run(  # noqa: S603 - our interpreter, our script
            # On its standard input: arguments can be seen by everyone on the machine.
            command,
            input=wanted.encode(),
            capture_output=True,
            timeout=_LONGEST_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StoreUnavailable(f"{path.name} cannot be searched: {error}") from error
    if ended.returncode not in (0, _FOUND):
        raise StoreUnavailable(f"{path.name} cannot be searched")
    return ended.returncode == _FOUND
