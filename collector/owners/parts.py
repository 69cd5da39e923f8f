"""Parts of a collector that the services for owners use."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from collector.influx import Influx
from collector.memory import Memory
from collector.metrics import Metrics
from collector.outbox import Outboxes
from collector.outbox.delivering import DeliveryLock
from collector.owners.elsewhere import Hops
from collector.owners.holdings import RecordHoldings
from collector.privacy import Pseudonymiser
from collector.rollup.daily import Daily


@dataclass(frozen=True, slots=True)
class Locks:
    """The locks of an erasure: `writing` is the delivery lock, `rolling` the rollup's."""

    writing: DeliveryLock
    rolling: AbstractAsyncContextManager[None]


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of a collector that these services use. `daily` is the rollup of its schedule."""

    influx: Influx
    memory: Memory
    outboxes: Outboxes
    daily: Daily
    pseudonyms: Pseudonymiser
    metrics: Metrics
    locks: Locks
    records: RecordHoldings
    hops: Hops
