"""Exceptions of the records store, by their remedy."""

from __future__ import annotations

from collector.sqlite.errors import StoreUnavailable


class RecordsError(StoreUnavailable):
    """An operation of the records store failed; the text says why, without a password."""


class RecordsUnavailable(RecordsError):
    """The store is unavailable or busy: a later attempt may succeed."""


class RecordsDenied(RecordsError):
    """The store refuses the user, the password, the database or a permission."""


class RecordsRejected(RecordsError):
    """The store refuses these values for good."""
