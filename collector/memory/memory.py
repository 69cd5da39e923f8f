"""The memory's public class, which joins its tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Final

from collector.memory import choices, erasures, tags
from collector.memory.choices import ChoicesTable
from collector.memory.erasures import ErasuresTable
from collector.memory.live import CONTENT, LiveTable
from collector.memory.records import Choice, ErasureRequest, Notice
from collector.memory.store import Store, Table, operation
from collector.memory.tags import TagsTable
from collector.tag_budget import TagValue

_DIRECTORY: Final = "memory"
_FILE: Final = "memory.sqlite3"
_LIVE_FILE: Final = "live.sqlite3"


def path_in(state_dir: Path) -> Path:
    """Return the path of the memory's file in a state directory."""
    return state_dir / _DIRECTORY / _FILE


def days_of_erasures(state_dir: Path) -> frozenset[date]:
    """Return the days of unfinished erasures (`ErasuresTable.days_planned`). Blocks.

    Does not make a memory where there is none. Raises MemoryUnavailable.
    """
    if not path_in(state_dir).parent.exists():
        return frozenset()
    return Memory(state_dir).erasures.days_planned()


class Memory(Table):
    """The memory of a state directory; safe to use from any thread.

    Each call is a transaction of its own, blocks, and raises MemoryUnavailable if the file cannot
    be used.
    """

    def __init__(self, state_dir: Path) -> None:
        super().__init__(Store(path_in(state_dir)))
        self.choices = ChoicesTable(self.store)
        self.erasures = ErasuresTable(self.store)
        self.tags = TagsTable(self.store)
        self.live = LiveTable(Store(self.store.path.with_name(_LIVE_FILE), CONTENT))

    @operation
    def import_legacy(
        self,
        database: sqlite3.Connection,
        *,
        synced_choices: Iterable[Choice],
        unsynced_choices: Iterable[Choice],
        asked: Iterable[ErasureRequest],
        notices: Iterable[Notice],
        erased: Iterable[Notice],
        values: Iterable[TagValue],
    ) -> None:
        """Import the rows of an earlier version's outbox in one transaction; idempotent."""
        choices.keep(database, synced_choices, synced=True)
        choices.keep(database, unsynced_choices, synced=False)
        erasures.import_legacy(database, asked, notices, erased)
        tags.admit(database, values)
