"""The records store of a collector, with its users; opened when first needed.

SQLAlchemy is imported inside functions, so that a collector without records does not load it.
"""

from __future__ import annotations

from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from collector.metrics import Metrics
from collector.privacy import Pseudonymiser, ServerPseudonym
from collector.records import FILE
from collector.records.record import spoken
from collector.settings import Settings
from collector.supervisor import Work

if TYPE_CHECKING:
    from aiohttp import web

    from collector.delivery.records import RecordsTarget
    from collector.records.parsers.registry import Parsers
    from collector.records.store import Contents, RecordsStore

_NS: Final = 10**9
_UNSHOWN: Final = ("stamp", "owner", "machine_id")
"""Columns that an owner is not shown: the key, and the pseudonym or the id."""


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

        return RecordsTarget(self.store, metrics, self._parsers(metrics).find)

    def chores(self, metrics: Metrics) -> list[tuple[str, Work]]:
        """Return the loops by name, for one process; none if no sender of records is enabled."""
        if not self._settings.telemetrics:
            return []
        from collector.records.purge import Purge
        from collector.records.recompute import Recompute

        purge = Purge(self.store, metrics, retention_s=self._settings.retention_records)
        recompute = Recompute(self.store, self._parsers(metrics))
        return [("records", purge.run), ("payloads", recompute.run)]

    def _parsers(self, metrics: Metrics) -> Parsers:
        from collector.records.parsers.registry import Parsers, installed

        return Parsers(installed(self._settings), metrics)

    def routes(self, pseudonyms: Pseudonymiser) -> list[web.RouteDef]:
        """Return the routes of the records API; none if no sender of records is enabled."""
        if not self._settings.telemetrics:
            return []
        from collector.record_api.routes import RecordsApi

        token = self._settings.api_token.get_secret_value()
        return RecordsApi(lambda: self.store, pseudonyms, token=token).routes()

    def of_owner(self, owner: ServerPseudonym) -> list[dict[str, Any]]:
        """Return an owner's records without their payloads, oldest first. Blocks."""
        if not self._exists():
            return []
        return [
            {"id": row["id"], "received": spoken(row["stamp"] // _NS)}
            | {name: value for name, value in row.items() if name not in _UNSHOWN}
            | {"ts_capture": spoken(row["ts_capture"])}
            for row in self._prepared().of_owner(owner)
        ]

    def count_of(self, owner: ServerPseudonym, *, until_ns: int) -> int:
        """Return the number of an owner's records received up to a time. Blocks."""
        return self._prepared().count_of(owner, until_ns=until_ns) if self._exists() else 0

    def erase(self, owner: ServerPseudonym, *, until_ns: int) -> None:
        """Delete an owner's records received up to a time. Blocks."""
        if self._exists():
            self.store.erase(owner, until_ns=until_ns)

    def contents(self) -> Contents | None:
        """Return the number and size of the records; None if there is no store. Blocks."""
        return self._prepared().contents() if self._is_made() else None

    def by_day(self, *, before_ns: int) -> dict[date, int]:
        """Return the number of records received before a time, by UTC day. Blocks."""
        return self.store.by_day(before_ns=before_ns)

    def ping(self) -> bool:
        """Check that the store answers; False if its file is not there yet. Blocks."""
        if not self._is_made():
            return False
        self.store.ping()
        return True

    def _prepared(self) -> RecordsStore:
        self.store.prepare()
        return self.store

    def _is_made(self) -> bool:
        """Whether the store can be queried without creating its file."""
        settings = self._settings
        return bool(settings.records_url.get_secret_value()) or (settings.state_dir / FILE).exists()

    def _exists(self) -> bool:
        """Whether there may be records; those of a disabled sender stay until they expire."""
        return self._settings.telemetrics or self._is_made()

    def close(self) -> None:
        """Close the store's connections, if it was opened."""
        if self._opened:
            self.store.close()
