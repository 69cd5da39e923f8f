"""The records store: searchable records of telemetrics-client with their payloads.

`record` defines a record and its line in the outbox, `tables` the tables, `migrations` their
versions (Alembic); `store` reads and writes them in SQLite or PostgreSQL; `errors` has its
exceptions. Imports of SQLAlchemy are slow: only `tables`, `store` and the migrations need it.
"""

from typing import Final

from collector.records.record import Checked, Record

FILE: Final = "records.sqlite3"
"""Name of the store's SQLite file in the state directory."""

__all__ = ["FILE", "Checked", "Record"]
