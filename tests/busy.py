"""Time measurements that leave out waits for a processor on a busy machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


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


@dataclass
class Spent:
    """An elapsed time, and the waits for a processor in it, in seconds."""

    clock_s: float = 0.0
    starved_s: float = 0.0

    @property
    def own_s(self) -> float:
        """The elapsed time without the waits, in seconds."""
        return max(0.0, self.clock_s - self.starved_s)


@contextmanager
def measured(*processes: int) -> Iterator[Spent]:
    """Measure the block; `own_s` leaves out the waits of `processes` and of this process.

    Compare limits with `own_s`: on an idle machine it equals the elapsed time.
    """
    spent = Spent()
    everybody = (os.getpid(), *processes)
    begun, before = time.monotonic(), starved_s(*everybody)
    yield spent
    spent.clock_s = time.monotonic() - begun
    spent.starved_s = max(0.0, starved_s(*everybody) - before)
