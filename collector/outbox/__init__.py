"""The outbox: reports durable on our disk before their senders hear "accepted".

`file` is what is on disk; `service` gives it to a process: a thread of its own, one commit for
many reports; `owners` is what it remembers of erasures and choices.
"""

from collector.outbox.errors import OutboxUnavailable
from collector.outbox.file import FILE, DeadLetter, Entry, Held, OutboxFile, Pending, Stats
from collector.outbox.service import Outbox

__all__ = [
    "FILE",
    "DeadLetter",
    "Entry",
    "Held",
    "Outbox",
    "OutboxFile",
    "OutboxUnavailable",
    "Pending",
    "Stats",
]
