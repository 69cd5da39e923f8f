"""The errors of a file that SQLite keeps, and how SQLite's own are told apart."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NOT_WHOLE: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class StoreUnavailable(Exception):
    """The file cannot be used now; the text says why."""


class StoreDamaged(StoreUnavailable):
    """The file does not hold what was written to it: it is to be set aside."""


@contextmanager
def raised_as(
    name: str, unavailable: type[StoreUnavailable], damaged: type[StoreUnavailable]
) -> Iterator[None]:
    """Raise errors of SQLite, the disk and this package as the two given types.

    `name` is the file's name in the error's text, such as `the outbox`.
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
    """Whether SQLite says that the file is not as it was written."""
    code = getattr(error, "sqlite_errorcode", 0)
    return (
        code & 0xFF in _NOT_WHOLE
        or code == sqlite3.SQLITE_IOERR_SHORT_READ
        # The module's own words, for a text that is no UTF-8.
        or "Could not decode to UTF-8" in str(error)
    )
