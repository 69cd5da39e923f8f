"""The outbox: a queue of reports, durable on our disk before their senders hear "accepted".

`file` is what is on disk (`layout` its tables, `rows` what is in them); `service` gives it to a
process: a thread of its own, one commit for many reports; `outboxes` are those of all workers. A
damaged file is set `aside`, and what is whole of it can be had again: `recover`, by `salvage` of
its rows.
"""

from collector.outbox.aside import look_over, put_away, set_aside
from collector.outbox.errors import OutboxDamaged, OutboxUnavailable
from collector.outbox.file import FILE, OutboxFile
from collector.outbox.outboxes import Outboxes
from collector.outbox.recover import Recovered, recover
from collector.outbox.rows import DeadLetter, Entry, Held, Pending, Stats
from collector.outbox.service import Outbox

__all__ = [
    "FILE",
    "DeadLetter",
    "Entry",
    "Held",
    "Outbox",
    "OutboxDamaged",
    "OutboxFile",
    "OutboxUnavailable",
    "Outboxes",
    "Pending",
    "Recovered",
    "Stats",
    "look_over",
    "put_away",
    "recover",
    "set_aside",
]
