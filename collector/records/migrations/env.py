"""Run by Alembic: applies the versions over the connection of `migrate`."""

from __future__ import annotations

from alembic import context

from collector.records.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
