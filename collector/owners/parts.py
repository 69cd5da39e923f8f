"""Parts of a collector that the services for owners use."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from collector.influx import Influx
from collector.jetstream.hops import Hops
from collector.memory import Memory
from collector.metrics import Metrics
from collector.outbox import Outboxes
from collector.outbox.delivering import DeliveryLock
from collector.privacy import Pseudonymiser, ServerPseudonym
from collector.rollup.daily import Daily


class RecordHoldings(Protocol):
    """The records store, as far as owners are concerned. Methods block; they raise RecordsError."""

    def of_owner(self, owner: ServerPseudonym) -> list[dict[str, Any]]:
        """Return an owner's records without their payloads, oldest first."""
        ...

    def count_of(self, owner: ServerPseudonym, *, until_ns: int) -> int:
        """Return the number of an owner's records received up to a time."""
        ...

    def erase(self, owner: ServerPseudonym, *, until_ns: int) -> None:
        """Delete an owner's records received up to a time."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of a collector that these services use. `daily` is the rollup of its schedule.

    `writing` is the delivery lock, `rolling` the rollup's.
    """

    influx: Influx
    memory: Memory
    outboxes: Outboxes
    daily: Daily
    pseudonyms: Pseudonymiser
    metrics: Metrics
    writing: DeliveryLock
    rolling: AbstractAsyncContextManager[None]
    records: RecordHoldings
    hops: Hops
