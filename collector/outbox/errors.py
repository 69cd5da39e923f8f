"""The errors of the outbox, and SQLite's under those names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from collector.sqlite.errors import StoreDamaged, StoreUnavailable, raised_as


class OutboxUnavailable(StoreUnavailable):
    """Nothing can be stored now, or the file cannot be used; the text says why."""


class OutboxDamaged(OutboxUnavailable, StoreDamaged):
    """The file does not hold what was written to it: it is to be set aside."""


def named() -> AbstractContextManager[None]:
    """Raise errors of SQLite and the disk as OutboxUnavailable or OutboxDamaged."""
    return raised_as("the outbox", OutboxUnavailable, OutboxDamaged)


@contextmanager
def as_written() -> Iterator[None]:
    """Rows that cannot be what was once written are damage."""
    try:
        yield
    except (ValueError, TypeError, AttributeError) as error:
        raise OutboxDamaged("the outbox cannot be used: a row is not as it was written") from error
