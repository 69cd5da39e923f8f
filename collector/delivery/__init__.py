"""Delivery of outbox entries to a target, in order.

`target` defines the protocol of a target, `influx` implements it for InfluxDB, `loop` is the loop
that delivers one outbox to one target.
"""

from collector.delivery.influx import InfluxTarget
from collector.delivery.loop import Delivery
from collector.delivery.target import Blocked, Dead, Target

__all__ = ["Blocked", "Dead", "Delivery", "InfluxTarget", "Target"]
