"""Exceptions of SQLite files, and the translation of SQLite's own errors into them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NOT_WHOLE: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class StoreUnavailable(Exception):
    """The SQLite file cannot be used now; the text says why."""


class StoreDamaged(StoreUnavailable):
    """The SQLite file is corrupt and must be set aside."""


@contextmanager
def raised_as(
    name: str, unavailable: type[StoreUnavailable], damaged: type[StoreUnavailable]
) -> Iterator[None]:
    """Re-raise errors of SQLite, the disk and this package as one of the two given types.

    `name` stands for the file in the error's text, such as `the outbox`.
    """
    try:
        yield
    except sqlite3.Error as error:
        kind = damaged if is_damage(error) else unavailable
        raise kind(f"{name} cannot be used: {error}") from error
    except OSError as error:
        raise unavailable(f"{name} cannot be used: {error}") from error
    except StoreUnavailable as error:
        if isinstance(error, unavailable):
            raise
        raise unavailable(str(error)) from error


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether an error of SQLite means that the file is corrupt."""
    code = getattr(error, "sqlite_errorcode", 0)
    return (
        code & 0xFF in _NOT_WHOLE
        or code == sqlite3.SQLITE_IOERR_SHORT_READ
        # The sqlite3 module's own error, without a code, for a text that is not UTF-8.
        or "Could not decode to UTF-8" in str(error)
    )
