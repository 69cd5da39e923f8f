"""A bare reader of AMI: logs in at `python -m bench.ami_bare PORT`, and counts messages.

Each line on standard input is answered with the number of messages that came.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

import uvloop

from tools.replay.ami_server import SECRET, USER

_END: Final = b"\r\n\r\n"
_READ: Final = 64 << 10


async def main(port: int) -> None:
    """Read until standard input ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    login = f"Action: Login\r\nActionID: 1\r\nUsername: {USER}\r\nSecret: {SECRET}\r\n\r\n"
    writer.write(login.encode())
    count = 0

    async def read() -> None:
        nonlocal count
        rest = b""
        while data := await reader.read(_READ):
            *whole, rest = (rest + data).split(_END)
            count += len(whole)

    reading = asyncio.create_task(read())
    while await asyncio.to_thread(sys.stdin.readline):
        print(count, flush=True)
    reading.cancel()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
