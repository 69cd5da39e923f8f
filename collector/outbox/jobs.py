"""Jobs of the outbox's thread, each a change of the file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from collector.outbox.file import OutboxFile
from collector.outbox.rows import Entry


@dataclass(slots=True)
class Append:
    """Job: append entries."""

    entries: tuple[Entry, ...]
    future: asyncio.Future[None]


@dataclass(slots=True)
class Change:
    """Job: call `work` with the file, after all jobs submitted before."""

    work: Callable[[OutboxFile], None]
    future: asyncio.Future[None]


Job = Append | Change


def entries_of(jobs: Iterable[Job]) -> list[Entry]:
    """Return the entries that jobs append, in order."""
    return [entry for job in jobs if isinstance(job, Append) for entry in job.entries]


def do(file: OutboxFile, jobs: Sequence[Job]) -> None:
    """Do jobs in one commit. Raises OutboxUnavailable, OutboxDamaged: none is done then."""
    if all(isinstance(job, Append) for job in jobs):
        file.append(*entries_of(jobs))
        return
    with file.transaction():
        for _, alike in groupby(jobs, key=type):
            together = list(alike)
            file.insert(*entries_of(together))
            for job in together:
                if isinstance(job, Change):
                    job.work(file)
