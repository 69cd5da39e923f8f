"""A manager interface that sends events at an even rate: `python -m bench.ami_send`.

The events are those of recorded sessions, one after the other. It prints its port; for each line
`RATE SECONDS` on standard input it sends to who is logged in, and prints how many events, and for
how long. A rate of 0 is as fast as the other side reads.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final

import uvloop

from tools.replay.ami_script import script
from tools.replay.ami_server import AmiServer
from tools.replay.captures import AMI, read_capture

_SESSIONS: Final = ("02a", "03", "05", "06", "07", "08")
_TICK_S: Final = 0.005
_AT_ONCE: Final = 500


def recorded() -> list[bytes]:
    """The events of the sessions that have many."""
    paths = [path for path in AMI if path.name.startswith(_SESSIONS)]
    steps = [step for path in paths for step in script(read_capture(path)).steps]
    return [step.message for step in steps if step.message is not None]


async def main() -> None:
    """Serve until standard input ends."""
    events = recorded() * 2
    most = len(events) // 2
    async with AmiServer().listening() as server:
        print(server.port, flush=True)
        sent = 0
        while line := await asyncio.to_thread(sys.stdin.readline):
            rate, seconds = map(float, line.split())
            await server.logged_in()
            begun, first = time.perf_counter(), sent
            while (now := time.perf_counter() - begun) < seconds:
                due = int(now * rate) - (sent - first) if rate else _AT_ONCE
                at, due = sent % most, min(due, most)
                await server.say(b"".join(events[at : at + due]))
                sent += due
                if rate:
                    await asyncio.sleep(_TICK_S)
            print(sent - first, time.perf_counter() - begun, flush=True)


if __name__ == "__main__":
    uvloop.run(main())
