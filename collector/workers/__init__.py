"""Worker processes of `serve`: a parent starts, watches and restarts them.

`parent` binds the sockets of each worker and keeps them open: while a worker restarts, new
connections wait in the sockets' queues and none is refused. `process` is a worker as its parent
sees it, `child` is what runs in the worker. Each worker writes its health to a pipe, as one line of
JSON a second. It stops when its standard input ends, which happens when the parent ends. The parent
serves the health of all workers as one, and with `metrics` their metrics.
"""

from collector.workers.child import work
from collector.workers.parent import serve

__all__ = ["serve", "work"]
