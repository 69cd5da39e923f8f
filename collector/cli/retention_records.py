"""The records store, as `collector retention` shows it beside InfluxDB's databases."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collector.retention import DatabaseState, Loss
    from collector.settings import Settings


def records_state(configured: Settings) -> DatabaseState | None:
    """The state of the records store, None if there is none. Raises RecordsError."""
    from collector.influx.usage import Usage
    from collector.record_keeping import Records
    from collector.retention import DatabaseState
    from collector.schema import RECORDS

    with closing(Records(configured)) as records:
        found = records.contents()
    if found is None:
        return None
    held = Usage(found.records, found.oldest_ns, found.newest_ns, found.disk_bytes)
    return DatabaseState(RECORDS, "records store", configured.retention_records, held)


def records_loss(configured: Settings, seconds: int) -> Loss | None:
    """The records that the store would lose with a retention; None if there is no store.

    Raises RecordsError.
    """
    from collector.record_keeping import Records
    from collector.retention import Loss
    from collector.schema import RECORDS

    with closing(Records(configured)) as records:
        if records.contents() is None:
            return None
        before = time.time_ns() - seconds * 10**9 if seconds else 0
        days = records.by_day(before_ns=before)
    return Loss(RECORDS, configured.retention_records, seconds, days)
