"""The errors of the outbox, and SQLite's under those names."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NOT_WHOLE: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class OutboxUnavailable(Exception):
    """Nothing can be stored now, or the file cannot be used; the text says why."""


class OutboxDamaged(OutboxUnavailable):
    """The file does not hold what was written to it: it is to be set aside."""


@contextmanager
def named() -> Iterator[None]:
    """SQLite's errors under our names for them."""
    try:
        yield
    except sqlite3.Error as error:
        kind = OutboxDamaged if _is_damage(error) else OutboxUnavailable
        raise kind(f"the outbox cannot be used: {error}") from error
    except OSError as error:
        raise OutboxUnavailable(f"the outbox cannot be used: {error}") from error


@contextmanager
def as_written() -> Iterator[None]:
    """Rows that cannot be what was once written are damage."""
    try:
        yield
    except (ValueError, TypeError, AttributeError) as error:
        raise OutboxDamaged("the outbox cannot be used: a row is not as it was written") from error


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    return (
        code & 0xFF in _NOT_WHOLE
        or code == sqlite3.SQLITE_IOERR_SHORT_READ
        # The module's own words, for a text that is no UTF-8.
        or "Could not decode to UTF-8" in str(error)
    )
