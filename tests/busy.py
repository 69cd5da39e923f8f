"""What other work on the machine adds to a measured time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


def starved_s(*processes: int) -> float:
    """Seconds that the threads of these processes were ready to run and had no processor.

    Linux counts them in /proc/PID/task/TID/schedstat, in ns, since each thread began.
    """
    waited = 0
    for process in processes:
        for counts in Path(f"/proc/{process}/task").glob("*/schedstat"):
            try:
                waited += int(counts.read_text().split()[1])
            except OSError:
                continue  # the thread has ended meanwhile
    return waited / 1e9


@dataclass
class Spent:
    """A measured time by the clock, and the waits for a processor in it, in seconds."""

    clock_s: float = 0.0
    starved_s: float = 0.0

    @property
    def own_s(self) -> float:
        """The time without the waits."""
        return max(0.0, self.clock_s - self.starved_s)


@contextmanager
def measured(*processes: int) -> Iterator[Spent]:
    """Measure the block; `own_s` leaves out what these and the test's own process were starved.

    On a quiet machine both are the same. On a busy one `own_s` is what a limit is compared with.
    """
    spent = Spent()
    everybody = (os.getpid(), *processes)
    begun, before = time.monotonic(), starved_s(*everybody)
    yield spent
    spent.clock_s = time.monotonic() - begun
    spent.starved_s = max(0.0, starved_s(*everybody) - before)
