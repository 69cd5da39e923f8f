"""The records store of a collector, with what writes to it. It is opened when first needed.

SQLAlchemy is imported inside: a collector without records, and most commands, do without it.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from collector.metrics import Metrics
from collector.settings import Settings
from collector.supervisor import Work

if TYPE_CHECKING:
    from collector.delivery.records import RecordsTarget
    from collector.records.store import RecordsStore


class Records:
    """The records store that the settings name, shared by all workers. Raises RecordsError."""

    def __init__(self, whole: Settings) -> None:
        self._settings = whole
        self._opened = False

    @cached_property
    def store(self) -> RecordsStore:
        """The store."""
        from collector.records.store import RecordsStore

        self._opened = True
        url = self._settings.records_url.get_secret_value()
        return RecordsStore(url, directory=self._settings.state_dir)

    def target(self, metrics: Metrics) -> RecordsTarget:
        """Return a target of delivery that writes to the store."""
        from collector.delivery.records import RecordsTarget

        return RecordsTarget(self.store, metrics)

    def chores(self, metrics: Metrics) -> list[tuple[str, Work]]:
        """Return the loops, by name, of one process: none while no sender of records is enabled."""
        if not self._settings.telemetrics:
            return []
        from collector.records.purge import Purge

        purge = Purge(self.store, metrics, retention_s=self._settings.retention_records)
        return [("records", purge.run)]

    def close(self) -> None:
        """Close the store's connections, if it was opened."""
        if self._opened:
            self.store.close()
