"""Every outbox of a state directory, whichever process writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import structlog

from collector.outbox.aside import set_aside, suspect
from collector.outbox.errors import OutboxDamaged, named
from collector.outbox.file import FILE, OutboxFile
from collector.outbox.rows import Held
from collector.privacy import ServerPseudonym
from collector.sqlite.search import holds

log = structlog.get_logger("collector.outbox")


class Outboxes:
    """Reads and erases in the outboxes of `directories`, which are looked up at each call.

    Each is opened for as long as a call takes, beside the process whose it is. Every method blocks,
    and raises OutboxUnavailable where a file cannot be used; one found damaged is set aside by the
    process whose it is.
    """

    def __init__(self, directories: Callable[[], Iterable[Path]]) -> None:
        self._directories = directories

    def names(self) -> list[str]:
        """The names of the directories that hold an outbox, the first worker's first."""
        return [path.parent.name for path in self._paths()]

    def held(self, server: ServerPseudonym) -> dict[str, Held]:
        """All rows of a server, by the name of the outbox's directory. Reads all files whole."""
        found = {}
        for path in self._paths():
            with _opened(path) as file:
                found[path.parent.name] = file.held(server)
        return found

    def servers(self) -> dict[ServerPseudonym, int]:
        """Each server that an outbox holds a row of: when its oldest was received, in ns."""
        oldest: dict[ServerPseudonym, int] = {}
        for path in self._paths():
            with _opened(path) as file:
                for server, at in file.servers().items():
                    oldest[server] = min(at, oldest.get(server, at))
        return oldest

    def newest_ns(self) -> int:
        """The newest timestamp of any entry, in ns; 0 for none."""
        newest = 0
        for path in self._paths():
            with _opened(path) as file:
                newest = max(newest, file.newest_ns())
        return newest

    def erase(self, server: ServerPseudonym, held: Mapping[str, Held]) -> None:
        """Delete rows of a server that `held` gave."""
        for path in self._paths():
            if path.parent.name in held:
                with _opened(path) as file:
                    file.erase(server, held[path.parent.name])

    def scrub(self, *traces: bytes) -> bool:
        """Leave nothing of deleted rows on the disk; whether none of these byte strings is there.

        Meanwhile the processes that append to an outbox wait.
        """
        clean = True
        for path in self._paths():
            with _opened(path) as file:
                clean &= file.scrub(traces)
            with named():
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
        with named():
            suspect(path)
        raise
