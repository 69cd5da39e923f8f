"""The operator's list of functions that are never named as the cause of a crash."""

from __future__ import annotations

import hashlib
import re
import time
from importlib import resources
from pathlib import Path
from typing import Final

import structlog

from collector.settings import Settings

log = structlog.get_logger("collector.records")

_LOOK_S: Final = 2.0
_LINE: Final = re.compile(r"(?P<function>.+?)(?:\s+-)?(?:\s+\[(?P<module>[^\]]*)\])?")
_SHIPPED: Final = "never_guilty.txt"


class NeverGuilty:
    """The list of a file, read again when it changes; an empty `path` means the shipped list.

    A line is `FUNCTION`, or `FUNCTION - [MODULE]` as a backtrace has it; `#` begins a comment. A
    file that cannot be read leaves the list as it was.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None
        self._looked = 0.0
        self._seen: object = None
        self._pairs: frozenset[tuple[str, str | None]] = frozenset()
        self._digest = ""
        if self._path is None:
            self._read((resources.files(__package__) / _SHIPPED).read_text("utf-8"))
        self.refresh(force=True)

    @property
    def digest(self) -> str:
        """Text that changes with the list; reads the file again if that is due."""
        self.refresh()
        return self._digest

    def refresh(self, *, force: bool = False) -> None:
        """Read the file again if it has changed; looks at most every 2 s unless forced."""
        now = time.monotonic()
        if self._path is None or (not force and now - self._looked < _LOOK_S):
            return
        self._looked = now
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen != self._seen:
                self._read(self._path.read_text("utf-8"))
                self._seen = seen
        except (OSError, UnicodeDecodeError) as error:
            log.warning("the list of never-guilty functions cannot be read", why=str(error))

    def holds(self, frame: tuple[str, str]) -> bool:
        """Whether a function (without parentheses) in a module is never guilty."""
        function, module = frame
        return (function, None) in self._pairs or (function, module) in self._pairs

    def _read(self, text: str) -> None:
        pairs = set()
        for line in map(str.strip, text.splitlines()):
            if not line.startswith("#") and (found := _LINE.fullmatch(line)) is not None:
                pairs.add((found["function"].removesuffix("()"), found["module"]))
        self._pairs = frozenset(pairs)
        ordered = sorted((function, module or "") for function, module in pairs)
        self._digest = hashlib.blake2b(repr(ordered).encode(), digest_size=8).hexdigest()


class GuiltyFrameParser:
    """Base of the parsers that look for a guilty frame: their version changes with the list."""

    def __init__(self, settings: Settings) -> None:
        self._never = NeverGuilty(settings.telemetrics_never_guilty)

    @property
    def version(self) -> str:
        """Version of the parser and digest of the list."""
        return f"1-{self._never.digest}"
