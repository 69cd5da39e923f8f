"""What may go wrong in the records store, by what can be done about it."""

from __future__ import annotations

from collector.sqlite.errors import StoreUnavailable


class RecordsError(StoreUnavailable):
    """The records store cannot do something; the text says why, without a password."""


class RecordsUnavailable(RecordsError):
    """The store is away or busy: a later attempt may succeed."""


class RecordsDenied(RecordsError):
    """The store refuses the user, the password, the database or a permission."""


class RecordsRejected(RecordsError):
    """The store refuses these values for good."""
