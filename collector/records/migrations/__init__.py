"""Versions of the records store's tables (Alembic), applied before anything else is done there."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def migrate(connection: Connection) -> None:
    """Bring the tables to the newest version. Raises SQLAlchemy's errors."""
    config = Config()
    # A per cent sign in a path would start an interpolation.
    location = str(Path(__file__).parent).replace("%", "%%")
    config.set_main_option("script_location", location)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
