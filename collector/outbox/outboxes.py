"""Access to the outboxes of all worker processes of a state directory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import structlog

from collector.outbox.aside import set_aside, suspect
from collector.outbox.errors import OutboxDamaged, translated_errors
from collector.outbox.file import FILE, OutboxFile
from collector.outbox.rows import Held
from collector.privacy import ServerPseudonym
from collector.sqlite.search import holds

log = structlog.get_logger("collector.outbox")


class Outboxes:
    """Reads and erases rows in the outboxes of `directories`, which each call looks up anew.

    Each file is open for one call, beside the process that owns it. Every method blocks, and raises
    OutboxUnavailable if a file cannot be used. A file found damaged is marked, and its owning
    process sets it aside.
    """

    def __init__(self, directories: Callable[[], Iterable[Path]]) -> None:
        self._directories = directories

    def names(self) -> list[str]:
        """Return the names of the directories that hold an outbox, the first worker's first."""
        return [path.parent.name for path in self._paths()]

    def held(self, server: ServerPseudonym) -> dict[str, Held]:
        """Return all rows of a server by the outbox's directory name. Reads every file whole."""
        found = {}
        for path in self._paths():
            with _opened(path) as file:
                found[path.parent.name] = file.held(server)
        return found

    def servers(self) -> dict[ServerPseudonym, int]:
        """Return each server with a row in an outbox, and when its oldest was received, in ns."""
        oldest: dict[ServerPseudonym, int] = {}
        for path in self._paths():
            with _opened(path) as file:
                for server, at in file.servers().items():
                    oldest[server] = min(at, oldest.get(server, at))
        return oldest

    def newest_ns(self) -> int:
        """Return the newest timestamp of any entry, in ns; 0 for none."""
        newest = 0
        for path in self._paths():
            with _opened(path) as file:
                newest = max(newest, file.newest_ns())
        return newest

    def erase(self, server: ServerPseudonym, held: Mapping[str, Held]) -> None:
        """Delete those rows of a server that `held` returned."""
        for path in self._paths():
            if path.parent.name in held:
                with _opened(path) as file:
                    file.erase(server, held[path.parent.name])

    def scrub(self, *traces: bytes) -> bool:
        """Remove remains of deleted rows; return whether the disk is free of these byte strings.

        Appending to an outbox waits meanwhile.
        """
        clean = True
        for path in self._paths():
            with _opened(path) as file:
                clean &= file.scrub(traces)
            with translated_errors():
                found = [aside.name for aside in set_aside(path.parent) if holds(aside, traces)]
            if found:
                log.warning(
                    "a damaged outbox that is set aside holds what was erased, which a recovery"
                    " leaves out: recover it, or `collector outbox drop` it",
                    reason="set-aside",
                    files=found,
                )
        return clean

    def _paths(self) -> list[Path]:
        return [path for own in self._directories() if (path := own / FILE).exists()]


@contextmanager
def _opened(path: Path) -> Iterator[OutboxFile]:
    try:
        with OutboxFile(path) as file:
            yield file
    except OutboxDamaged:
        with translated_errors():
            suspect(path)
        raise
