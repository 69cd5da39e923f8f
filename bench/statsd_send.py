"""A sender of StatsD at an even rate: `python -m bench.statsd_send PORT RATE SECONDS`.

Its datagrams are those of the recorded captures, one after the other; a rate of 0 is as fast as one
core can. It prints how many it has sent, and for how long.
"""

from __future__ import annotations

import socket
import sys
import time
from typing import Final

from tools.replay.captures import STATSD, read_capture

_TICK_S: Final = 0.002


def main(port: int, rate: int, seconds: float) -> None:
    """Send, and print the number of datagrams and the seconds that it took."""
    datagrams = [data for path in STATSD for _, data in read_capture(path).received()]
    sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sending.connect(("127.0.0.1", port))
    send, most = sending.send, len(datagrams)
    begun = time.perf_counter()
    sent = 0
    while (now := time.perf_counter() - begun) < seconds:
        due = int(now * rate) - sent if rate else 1000
        for number in range(sent, sent + due):
            send(datagrams[number % most])
        sent += due
        if rate:
            time.sleep(_TICK_S)
    print(sent, time.perf_counter() - begun)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
