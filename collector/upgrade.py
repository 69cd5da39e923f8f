"""Migration of choices, erasures and tag values from old outboxes into the memory.

Up to version 2 each worker's outbox held them. One transaction of the memory imports the rows of
one outbox; then they are deleted there. After a crash in between the next run does both again,
which is idempotent.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from collector.memory import Action, Choice, ErasureRequest, Memory, Notice, State
from collector.outbox import FILE, OutboxDamaged, OutboxFile, check_at_start
from collector.outbox.layout import LEGACY
from collector.outbox.legacy import Legacy
from collector.privacy import OwnerMark, ServerPseudonym
from collector.state import StateError, StateInUse, locked
from collector.tag_budget import TagValue
from collector.worker import directories

log = structlog.get_logger("collector.upgrade")


def migrate_outbox(path: Path, memory: Memory) -> None:
    """Move an old outbox's rows to the memory. No other process may write to the outbox.

    Raises OutboxUnavailable, MemoryUnavailable.
    """
    with OutboxFile(path) as file:
        rows = file.legacy()
        if not rows:
            return
        _import_legacy(rows, memory)
        file.drop_legacy()
    log.info(
        "choices, erasures and tag values were moved from the outbox to the memory",
        outbox=path.parent.name,
    )


def migrate_outboxes(state_dir: Path, memory: Memory, *, skip: Path | None = None) -> None:
    """Move the rows of all outboxes of a state directory whose processes do not run.

    `skip` is a directory that this process has locked and migrated already. A running process
    migrates its own outbox at its start. Raises StateInUse if a process of an earlier version runs,
    StateError, OutboxUnavailable, MemoryUnavailable.
    """
    for directory in directories(state_dir):
        path = directory / FILE
        if directory == skip or not path.exists() or not _has_legacy(path):
            continue
        # Commands come here too, and few find an old outbox.
        from collector.metrics import Metrics  # noqa: PLC0415

        try:
            with locked(directory):
                check_at_start(path, Metrics())
                migrate_outbox(path, memory)
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
        # Its readable rows are found when it is set aside.
        return True


def _import_legacy(rows: Legacy, memory: Memory) -> None:
    found = {table: rows.get(table, ()) for table in LEGACY}
    choices: dict[bool, list[Choice]] = {True: [], False: []}
    for owner, said, at, synced in found["owner_choices"]:
        choices[bool(synced)].append(Choice(OwnerMark(owner), said == "opt-out", at))
    memory.import_legacy(
        synced_choices=choices[True],
        unsynced_choices=choices[False],
        asked=[
            ErasureRequest(number, at, ServerPseudonym(server), Action(action), State(state), *rest)
            for number, at, server, action, state, *rest in found["erasures"]
            # A finished erasure has only a receipt, for a client that no longer waits.
            if state != State.DONE
        ],
        notices=[
            Notice(OwnerMark(owner), at, days) for at, owner, days in found["erasure_notices"]
        ],
        erased=[Notice(OwnerMark(owner), at, "") for owner, at in found["erased"]],
        values=[TagValue(*row) for row in found["tag_values"]],
    )


def migrated(state_dir: Path) -> Memory:
    """Return the memory of a state directory, after moving the rows of old outboxes into it.

    Raises StateError (no such directory), StateInUse, OutboxUnavailable, MemoryUnavailable.
    """
    if not state_dir.is_dir():
        raise StateError(f"there is no {state_dir}: is COLLECTOR_STATE_DIR right?")
    memory = Memory(state_dir)
    migrate_outboxes(state_dir, memory)
    return memory
