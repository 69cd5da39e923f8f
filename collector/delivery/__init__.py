"""Delivery of outbox entries to a target, in order.

`target` defines the protocol of a target; `influx`, `records` and `jetstream` implement it,
`targets` creates the targets of a collector. `loop` delivers one queue of an outbox to its
target; `deliveries` runs all loops of an outbox. `writing` stores what JetStream holds.
"""

from collector.delivery.deliveries import Deliveries
from collector.delivery.influx import InfluxTarget
from collector.delivery.loop import Delivery
from collector.delivery.target import Blocked, Dead, Target
from collector.delivery.targets import TargetsOf, store_targets

__all__ = [
    "Blocked",
    "Dead",
    "Deliveries",
    "Delivery",
    "InfluxTarget",
    "Target",
    "TargetsOf",
    "store_targets",
]
