"""The memory limit of this process's control group (Linux, cgroup v2), and what workers may need.

Measured: docs/install.md, "More than one core, more than one machine".
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_FIXED: Final = 768 << 20
"""Bytes for the parent and the rollup of a large day."""
_WORKER: Final = 256 << 20
"""Bytes for a worker with all connections in use."""
_LEAST_ROLLUP: Final = 128 << 20
_ROOT: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")
_UNIFIED: Final = "0::/"


def memory_needed(workers: int) -> int:
    """The bytes that a collector with this number of workers may use."""
    return _FIXED + workers * _WORKER


def rollup_memory(asked: int, workers: int, limit: int | None) -> int:
    """The bytes that the rollup may take: those asked for, or what a limit leaves it."""
    if limit is None:
        return asked
    return min(asked, max(_LEAST_ROLLUP, limit - (1 + workers) * _WORKER))


def memory_limit(root: Path = _ROOT, own: Path = _OWN) -> int | None:
    """The lowest memory limit, in bytes, of the process's group and those above it.

    Returns None if there is none, or if the machine has no cgroup v2.
    """
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    path = next((line.removeprefix("0::/") for line in lines if line.startswith(_UNIFIED)), None)
    if path is None:
        return None
    group = root / path
    limits = [_limit(each) for each in (group, *group.parents) if each.is_relative_to(root)]
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(group: Path) -> int | None:
    """The limit of one group; None for `max`, and for a group that has no such file."""
    try:
        return int((group / "memory.max").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
