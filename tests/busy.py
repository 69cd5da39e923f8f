"""Time measurements that leave out waits for a processor, and standstills of the machine."""

from __future__ import annotations

import atexit
import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import standstills


def starved_s(*processes: int) -> float:
    """Seconds for which threads of these processes were runnable, but had no processor.

    Linux counts them in ns, since the start of each thread, in /proc/PID/task/TID/schedstat.
    """
    waited = 0
    for process in processes:
        for counts in Path(f"/proc/{process}/task").glob("*/schedstat"):
            try:
                waited += int(counts.read_text().split()[1])
            except OSError:
                continue  # the thread has ended
    return waited / 1e9


@functools.cache
def _standstills() -> Callable[[], float]:
    """Start the program that counts standstills; return what asks for their sum until now, in s."""
    numbers = os.memfd_create("standstills")
    # It ends with this process, by its standard input.
    child = subprocess.Popen(
        [sys.executable, "-E", "-S", standstills.__file__], stdin=subprocess.PIPE, stdout=numbers
    )
    atexit.register(child.__exit__, None, None, None)

    def until_now() -> float:
        now = time.monotonic()
        while True:
            found = os.pread(numbers, standstills.NUMBERS.size, 0)
            if found:
                seen, total = standstills.NUMBERS.unpack(found)
                if seen > now:
                    return float(total)
            assert child.poll() is None
            time.sleep(0.01)

    return until_now


@dataclass
class Spent:
    """An elapsed time, and what it holds of waits for a processor and of standstills, in s."""

    clock_s: float = 0.0
    starved_s: float = 0.0
    still_s: float = 0.0

    @property
    def own_s(self) -> float:
        """The elapsed time without the waits and standstills, in seconds."""
        return max(0.0, self.clock_s - self.starved_s - self.still_s)


@contextmanager
def measured(*processes: int) -> Iterator[Spent]:
    """Measure the block; `own_s` leaves out the waits of `processes` and of this process.

    Compare limits with `own_s`: on an idle machine it equals the elapsed time.
    """
    spent = Spent()
    everybody = (os.getpid(), *processes)
    still = _standstills()()
    begun, before = time.monotonic(), starved_s(*everybody)
    yield spent
    spent.clock_s = time.monotonic() - begun
    spent.starved_s = max(0.0, starved_s(*everybody) - before)
    spent.still_s = _standstills()() - still
