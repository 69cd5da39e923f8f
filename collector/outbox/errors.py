"""Exceptions of the outbox, and the translation of SQLite's errors into them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from collector.sqlite.errors import StoreDamaged, StoreUnavailable, raised_as


class OutboxUnavailable(StoreUnavailable):
    """The outbox cannot store reports now, or its file cannot be used; the text says why."""


class OutboxDamaged(OutboxUnavailable, StoreDamaged):
    """The outbox's file is corrupt and must be set aside."""


def translated_errors() -> AbstractContextManager[None]:
    """Re-raise errors of SQLite and the disk as OutboxUnavailable or OutboxDamaged."""
    return raised_as("the outbox", OutboxUnavailable, OutboxDamaged)


@contextmanager
def decoding_errors() -> Iterator[None]:
    """Re-raise errors of decoding a row as OutboxDamaged."""
    try:
        yield
    except (ValueError, TypeError, AttributeError) as error:
        raise OutboxDamaged("the outbox cannot be used: a row is not as it was written") from error
