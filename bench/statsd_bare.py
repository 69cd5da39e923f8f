"""A bare UDP reader: counts datagrams in uvloop, many at each wake-up, and does nothing else.

`python -m bench.statsd_bare` prints its port; each line on standard input is answered with the
number of datagrams that came and of those that the kernel dropped.
"""

from __future__ import annotations

import asyncio
import socket
import sys

import uvloop

from collector.intakes.statsd.sockets import Datagrams, bound
from collector.setting_types import parse_endpoint


class _Count:
    """Takes datagrams and counts them; all are its own."""

    def __init__(self) -> None:
        self.taken = 0
        self.gone = False
        self.only = self

    def take(self, datagram: bytes, now_ns: int) -> None:
        self.taken += 1

    def of_address(self, host: str) -> _Count:
        return self

    def of_path(self, path: str) -> _Count:
        return self

    def drop(self, reason: str) -> None:
        raise AssertionError(reason)


async def main() -> None:
    """Read until standard input ends."""
    count = _Count()
    with bound([parse_endpoint("127.0.0.1:0")]) as (one,):
        reader = Datagrams(one, count, lambda: 0)
        asyncio.get_running_loop().add_reader(one.socket, reader.read)
        print(one.socket.getsockname()[1], flush=True)
        dropped = 0
        while await asyncio.to_thread(sys.stdin.readline):
            dropped += reader.kernel_drops()
            print(count.taken, dropped, flush=True)
        asyncio.get_running_loop().remove_reader(one.socket)


if __name__ == "__main__":
    assert socket.AF_INET
    uvloop.run(main())
