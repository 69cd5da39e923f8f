"""The errors of the memory."""

from __future__ import annotations

from collector.sqlite.errors import StoreDamaged, StoreUnavailable


class MemoryUnavailable(StoreUnavailable):
    """Nothing can be remembered or looked up now; the text says why."""


class MemoryDamaged(MemoryUnavailable, StoreDamaged):
    """The file does not hold what was written to it."""
