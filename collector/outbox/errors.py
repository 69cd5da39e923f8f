"""The one error of the outbox, and SQLite's under that name."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


class OutboxUnavailable(Exception):
    """Nothing can be stored now, or the file cannot be used; the text says why."""


@contextmanager
def named() -> Iterator[None]:
    """SQLite's errors under our name for them."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise OutboxUnavailable(f"the outbox cannot be used: {error}") from error
