"""Jobs of the outbox's thread, each a change of the file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from collector.outbox.file import OutboxFile
from collector.outbox.rows import Entry


@dataclass(slots=True)
class Job:
    """Appends entries, or calls `work` with the file; `future` is done when that is on disk."""

    future: asyncio.Future[None]
    entries: tuple[Entry, ...] = ()
    work: Callable[[OutboxFile], None] | None = None


def entries_of(jobs: Iterable[Job]) -> list[Entry]:
    """Return the entries that jobs append, in order."""
    return [entry for job in jobs for entry in job.entries]


def do(file: OutboxFile, jobs: Sequence[Job]) -> None:
    """Do jobs in one commit. Raises OutboxUnavailable, OutboxDamaged: none is done then."""
    if all(job.work is None for job in jobs):
        file.append(*entries_of(jobs))
        return
    with file.transaction():
        for _, alike in groupby(jobs, key=lambda job: job.work is None):
            together = list(alike)
            file.insert(*entries_of(together))
            for job in together:
                if job.work is not None:
                    job.work(file)
