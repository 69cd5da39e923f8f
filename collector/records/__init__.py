"""The records store: records of telemetrics-client with their payloads, which people search.

`record` is a record and its line in the outbox, `tables` are the tables, `migrations` their
versions (Alembic), `store` reads and writes them in SQLite or PostgreSQL, `errors` says what went
wrong there. Imports of SQLAlchemy are slow: only `tables`, `store` and the migrations need it.
"""

from typing import Final

from collector.records.record import Record

FILE: Final = "records.sqlite3"
"""Name of the store's file, if it is one in the state directory."""

__all__ = ["FILE", "Record"]
