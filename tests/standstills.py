"""Adds up how long this machine stood still: a program of its own, which `tests.busy` starts.

It looks at the clock every 50 ms, and takes a longer pause for a standstill, unless it had to wait
for a processor. Its standard output is a file, at whose beginning it keeps two numbers in s: when
it last looked, on the monotonic clock, and the sum. It ends with its standard input.
"""

import os
import select
import struct
import sys
import time
from pathlib import Path
from typing import Final

NUMBERS: Final = struct.Struct("dd")
_TICK_S: Final = 0.05
_STANDSTILL_S: Final = 0.25


def _waited_s() -> float:
    """Seconds for which this process was runnable, but had no processor."""
    return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9


def main() -> None:
    """Write the numbers until the standard input ends."""
    total, seen, waited = 0.0, time.monotonic(), _waited_s()
    while not select.select([sys.stdin], [], [], _TICK_S)[0]:
        now, waits = time.monotonic(), _waited_s()
        still = now - seen - _TICK_S - (waits - waited)
        total += still if still > _STANDSTILL_S else 0.0
        seen, waited = now, waits
        os.pwrite(sys.stdout.fileno(), NUMBERS.pack(seen, total), 0)


if __name__ == "__main__":
    main()
