"""Delivery of outbox entries to a target, in order.

`target` defines the protocol of a target; `influx`, `records` and `jetstream` implement it, and
create the targets of a collector. `loop` delivers each queue of an outbox to its target. `writing`
stores what JetStream holds.
"""
