"""Moves what outboxes of earlier versions remember into the memory, in place.

Up to version 2 each worker's outbox held choices, erasures and tag values. One transaction of the
memory takes over all that one outbox holds; then that outbox drops it. Killed in between, the next
run does both again, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import structlog

from collector.memory import Action, Asked, Choice, Memory, Notice, State
from collector.metrics import Metrics
from collector.outbox import FILE, OutboxDamaged, OutboxFile, look_over
from collector.outbox.file import Legacy
from collector.privacy import OwnerMark, ServerPseudonym
from collector.share import directories
from collector.state import StateError, StateInUse, locked
from collector.tag_budget import TagValue

log = structlog.get_logger("collector.upgrade")


def take_over(path: Path, memory: Memory) -> None:
    """Move what an outbox of an earlier version remembers; nothing else may have it open to write.

    Raises OutboxUnavailable, MemoryUnavailable.
    """
    with OutboxFile(path) as file:
        rows = file.legacy()
        if not rows:
            return
        _absorb(rows, memory)
        file.drop_legacy()
    log.info("the memory has what this outbox remembered", outbox=path.parent.name)


def take_over_all(state_dir: Path, memory: Memory, *, but: Path | None = None) -> None:
    """Move what all outboxes of a state directory remember, whose processes do not run.

    `but` is a directory that this process holds already, and has seen to. An outbox whose process
    runs is seen to by that process, at its start; where one of an earlier version runs, StateInUse
    is raised. Raises StateError, OutboxUnavailable, MemoryUnavailable.
    """
    for directory in directories(state_dir):
        path = directory / FILE
        if directory == but or not path.exists() or not _has_legacy(path):
            continue
        try:
            with locked(directory):
                look_over(path, Metrics())
                take_over(path, memory)
        except StateInUse:
            if _has_legacy(path):
                raise StateInUse(
                    f"a collector of an earlier version runs on {directory}: restart it first"
                ) from None


def _has_legacy(path: Path) -> bool:
    try:
        with OutboxFile(path) as file:
            return bool(file.legacy())
    except OutboxDamaged:
        # What can be read of it is told when it is set aside.
        return True


def _absorb(rows: Legacy, memory: Memory) -> None:
    choices: dict[bool, list[Choice]] = {True: [], False: []}
    for owner, said, at, told in _of(rows, "owner_choices"):
        choices[bool(told)].append(Choice(OwnerMark(owner), said == "opt-out", at))
    memory.absorb(
        choices_told=choices[True],
        choices_untold=choices[False],
        asked=[
            Asked(number, at, ServerPseudonym(server), Action(action), State(state), *rest)
            for number, at, server, action, state, *rest in _of(rows, "erasures")
            # The receipt of one that is done is for whoever waited for it.
            if state != State.DONE
        ],
        notices=[
            Notice(OwnerMark(owner), at, days) for at, owner, days in _of(rows, "erasure_notices")
        ],
        erased=[Notice(OwnerMark(owner), at, "") for owner, at in _of(rows, "erased")],
        values=[TagValue(*row) for row in _of(rows, "tag_values")],
    )


def _of(rows: Legacy, table: str) -> Iterable[tuple[Any, ...]]:
    return rows.get(table, ())


def migrated(state_dir: Path) -> Memory:
    """The memory of a state directory, with all that earlier versions kept in outboxes.

    Raises StateError (no such directory), StateInUse, OutboxUnavailable, MemoryUnavailable.
    """
    if not state_dir.is_dir():
        raise StateError(f"there is no {state_dir}: is COLLECTOR_STATE_DIR right?")
    memory = Memory(state_dir)
    take_over_all(state_dir, memory)
    return memory
