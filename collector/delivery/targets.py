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
    """Creates the targets of outboxes."""

    def of(self, metrics: Metrics, *, records: bool) -> dict[Queue, Target[Any]]:
        """Return the target of each queue; that of the records only if it is wanted."""
        ...


class Targets:
    """Creates the targets of outboxes, which share connections.

    `make_databases` creates the databases of InfluxDB; `make_records` returns the target of the
    records store.
    """

    def __init__(
        self,
        influx: Influx,
        make_databases: Callable[[], Awaitable[object]],
        make_records: Callable[[Metrics], RecordsTarget],
    ) -> None:
        self._influx = influx
        self._make_databases = make_databases
        self._make_records = make_records

    def of(self, metrics: Metrics, *, records: bool) -> dict[Queue, Target[Any]]:
        """Return the target of each queue; that of the records store only if it is wanted."""
        found: dict[Queue, Target[Any]] = {
            Queue.INFLUX: InfluxTarget(self._influx, metrics, self._make_databases)
        }
        if records:
            # The library behind it is loaded only now: most collectors have no records.
            found[Queue.RECORDS] = self._make_records(metrics)
        return found
