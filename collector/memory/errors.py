"""Exceptions of the memory."""

from __future__ import annotations

from collector.sqlite.errors import StoreDamaged, StoreUnavailable


class MemoryUnavailable(StoreUnavailable):
    """The memory can be neither read nor written now; the text says why."""


class MemoryDamaged(MemoryUnavailable, StoreDamaged):
    """The memory's file is corrupt."""
