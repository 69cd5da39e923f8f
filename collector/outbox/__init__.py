"""The outbox: reports durable on our disk before their senders hear "accepted".

`file` is what is on disk; `service` gives it to a process: a thread of its own, one commit for
many reports.
"""

from collector.outbox.file import (
    FILE,
    DeadLetter,
    Entry,
    OutboxFile,
    OutboxUnavailable,
    Pending,
    Stats,
)
from collector.outbox.service import Outbox

__all__ = [
    "FILE",
    "DeadLetter",
    "Entry",
    "Outbox",
    "OutboxFile",
    "OutboxUnavailable",
    "Pending",
    "Stats",
]
