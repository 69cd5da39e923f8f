"""Searches an SQLite file and its log for byte strings, in a child process.

SQLite's locks belong to the process: closing any other descriptor of the file drops them, and
another process could then delete the log while it is in use
(https://sqlite.org/howtocorrupt.html, section 2.2).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from collector.sqlite.errors import StoreUnavailable
from collector.sqlite.lock import log_of

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
    """Return whether a file or its log contains any of these strings of two bytes or more.

    Raises StoreUnavailable if the search fails.
    """
    wanted = " ".join(trace.hex() for trace in traces)
    if not wanted:
        return False
    command = [sys.executable, "-I", "-S", "-c", _SCRIPT, str(path), str(log_of(path))]
    try:
        ended = subprocess.run(  # noqa: S603 - our interpreter, our script
            # Through standard input: every user of the machine can see arguments.
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
