"""Rows of earlier versions in an outbox's file, until the memory has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from collector.outbox import layout
from collector.outbox.errors import translated_errors
from collector.outbox.space import Space
from collector.sqlite.migration import tables

Legacy = Mapping[str, Sequence[tuple[Any, ...]]]
"""Rows of the tables of `layout.LEGACY`, by table."""


class LegacyRows(Space):
    """The part of an outbox's file that holds tables of versions 1 and 2."""

    def legacy(self) -> Legacy:
        """Return rows of versions 1 and 2 not yet moved to the memory, by table."""
        with translated_errors():
            return {
                table: self._database.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
                for table in layout.LEGACY.keys() & tables(self._database)
            }

    def put_legacy(self, rows: Legacy) -> None:
        """Store rows of an earlier version until they move to the memory. In a transaction."""
        for table, found in rows.items():
            columns = layout.LEGACY[table]
            self._database.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
            marks = ",".join("?" * (columns.count(",") + 1))
            self._database.executemany(
                f"INSERT OR REPLACE INTO {table} VALUES ({marks})",  # noqa: S608 - constants
                found,
            )

    def drop_legacy(self) -> None:
        """Delete the tables that `legacy` reads, once the memory has their rows."""
        with self.transaction():
            for table in layout.LEGACY:
                self._database.execute(f"DROP TABLE IF EXISTS {table}")
        self.fold()
