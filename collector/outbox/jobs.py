"""Jobs of the outbox's thread, each a change of the file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from collector.outbox.file import OutboxFile
from collector.outbox.rows import Entry, Pending


@dataclass(slots=True)
class Append:
    """Job: append entries."""

    entries: tuple[Entry, ...]
    future: asyncio.Future[None]


@dataclass(slots=True)
class Acknowledge:
    """Job: mark a batch as delivered, all but `dead`."""

    batch: Sequence[Pending]
    dead: Sequence[tuple[Pending, bytes, str]]
    future: asyncio.Future[None]


@dataclass(slots=True)
class Change:
    """Job: call `work` with the file, after all jobs submitted before."""

    work: Callable[[OutboxFile], None]
    future: asyncio.Future[None]


Job = Append | Acknowledge | Change


def entries_of(jobs: Sequence[Job]) -> list[Entry]:
    """Return the entries that jobs append, in order."""
    return [entry for job in jobs if isinstance(job, Append) for entry in job.entries]


def do(file: OutboxFile, jobs: Sequence[Job]) -> None:
    """Do jobs in one commit. Raises OutboxUnavailable, OutboxDamaged: none is done then."""
    if any(isinstance(job, Change) for job in jobs):
        _do_in_order(file, jobs)
        return
    acknowledged = [job for job in jobs if isinstance(job, Acknowledge)]
    entries = entries_of(jobs)
    if not acknowledged:
        file.append(*entries)
        return
    with file.transaction():
        for job in acknowledged:
            file.acknowledge(job.batch, job.dead)
        file.insert(*entries)


def _do_in_order(file: OutboxFile, jobs: Sequence[Job]) -> None:
    with file.transaction():
        for job in jobs:
            match job:
                case Append(entries):
                    file.insert(*entries)
                case Acknowledge(batch, dead):
                    file.acknowledge(batch, dead)
                case Change(work):
                    work(file)
