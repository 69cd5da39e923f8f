"""Delivery: one loop that carries entries from the outbox to a target, in order.

`target` is the contract of a target, `influx` the one that is an InfluxDB, `loop` the loop.
"""

from collector.delivery.influx import InfluxTarget
from collector.delivery.loop import Delivery
from collector.delivery.target import Blocked, Dead, Target

__all__ = ["Blocked", "Dead", "Delivery", "InfluxTarget", "Target"]
