"""The outbox: a queue of reports on the local disk, durable before a sender gets its reply.

`file` is the SQLite file (its parts: `connection`, `batches`, `dead_letters`, `owned`, `space`,
`figures`, `legacy`), `layout` its tables and migrations, `rows` its records, `queues` which entries
go to which store. `service` runs it in a thread that commits many reports at once; `outboxes` reads
and erases in those of all workers.
`aside` sets a damaged file aside, `recover` brings its intact reports back, with `salvage` to find
their rows.
"""

from collector.outbox.aside import check_at_start, mark_recovered, read_at_start, set_aside
from collector.outbox.errors import OutboxDamaged, OutboxUnavailable
from collector.outbox.file import FILE, OutboxFile
from collector.outbox.outboxes import Outboxes
from collector.outbox.queues import Queue
from collector.outbox.recover import Recovered, recover
from collector.outbox.rows import DeadLetter, Entry, Held, Pending
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
    "Queue",
    "Recovered",
    "check_at_start",
    "mark_recovered",
    "read_at_start",
    "recover",
    "set_aside",
]
