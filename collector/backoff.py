"""Exponential back-off: pauses between tries that double with each failure. Pure."""

from __future__ import annotations

from typing import Final

_MOST_DOUBLINGS: Final = 30


def backoff(failures: int, *, first_s: float, most_s: float, jitter: float = 1.0) -> float:
    """Return the pause in s after failure number `failures` in a row, counted from 1.

    It doubles from `first_s` to at most `most_s`. `jitter` (0..1, random) scales its second half,
    so that clients that failed together do not try again together.
    """
    full = min(first_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS), most_s)
    return full * (0.5 + 0.5 * jitter)
