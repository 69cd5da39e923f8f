"""What waits unread in the kernel's queues of this machine's sockets."""

from __future__ import annotations

from pathlib import Path


def unread(port: int, kind: str) -> int:
    """Bytes that sockets of a local IPv4 port have got and no program has read yet.

    `kind` is `tcp` or `udp`. Connections that wait to be accepted count as a byte each. Linux shows
    both in /proc/net/tcp and /proc/net/udp, column `rx_queue`, in hexadecimal.
    """
    waiting = 0
    for row in Path(f"/proc/net/{kind}").read_text(encoding="ascii").splitlines()[1:]:
        _, local, _, _, queues, *_ = row.split()
        if int(local.rpartition(":")[2], 16) == port:
            waiting += int(queues.rpartition(":")[2], 16)
    return waiting
