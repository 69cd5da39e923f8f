"""The targets of a collector's outboxes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from collector.delivery.influx import InfluxTarget
from collector.delivery.target import Target
from collector.influx import Influx
from collector.metrics import Metrics
from collector.outbox import Queue

if TYPE_CHECKING:
    from collector.delivery.records import RecordsTarget


class TargetsOf(Protocol):
    """A function that creates the targets of an outbox."""

    def __call__(self, metrics: Metrics, *, records: bool) -> dict[Queue, Target[Any]]:
        """Return the target of each queue; that of the records store only if it is wanted."""
        ...


def store_targets(
    influx: Influx,
    make_databases: Callable[[], Awaitable[object]],
    make_records: Callable[[Metrics], RecordsTarget],
    metrics: Metrics,
    *,
    records: bool,
) -> dict[Queue, Target[Any]]:
    """Return the target of each queue; that of the records store only if it is wanted.

    `make_databases` creates the databases of InfluxDB; `make_records` returns the target of the
    records store.
    """
    found: dict[Queue, Target[Any]] = {Queue.INFLUX: InfluxTarget(influx, metrics, make_databases)}
    if records:
        # The library behind it is loaded only now: most collectors have no records.
        found[Queue.RECORDS] = make_records(metrics)
    return found
