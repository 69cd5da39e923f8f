"""Delivery of outbox entries to a target, in order.

`target` defines the protocol of a target; `influx`, `records` and `jetstream` implement it,
`targets` creates the targets of a collector. `loop` delivers each queue of an outbox to its target.
`writing` stores what JetStream holds.
"""

from collector.delivery.influx import InfluxTarget
from collector.delivery.loop import Delivery, deliveries, stop_all
from collector.delivery.target import Blocked, Dead, Target
from collector.delivery.targets import TargetsOf, store_targets

__all__ = [
    "Blocked",
    "Dead",
    "Delivery",
    "InfluxTarget",
    "Target",
    "TargetsOf",
    "deliveries",
    "stop_all",
    "store_targets",
]
