"""Distribution of a value within a flush: percentiles, the largest, and the sum. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Final

KEPT: Final = 4096
"""Most values of one flush that percentiles are computed from."""
_PERCENTS: Final = {"p50": 50, "p90": 90, "p99": 99}


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The nearest-rank percentile: the least value that `percent` % of all do not exceed.

    `ordered` rises and is not empty.
    """
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


class Spread:
    """Values of one flush. Percentiles are exact for up to `KEPT` values.

    Beyond that they are of a uniform sample of that size (reservoir sampling, Vitter's algorithm
    R): the rank of a percentile is then right to within about 2 % of the values. `count`, `sum`,
    the smallest and the largest are exact.
    """

    __slots__ = ("_chance", "_kept", "count", "least", "most", "sum")

    def __init__(self) -> None:
        self._kept: list[float] = []
        self._chance: random.Random | None = None
        self.count = 0
        self.sum = 0.0
        self.least = math.inf
        self.most = -math.inf

    def add(self, value: float) -> None:
        """Add a finite value."""
        self.count += 1
        self.sum += value
        self.least = min(self.least, value)
        self.most = max(self.most, value)
        if len(self._kept) < KEPT:
            self._kept.append(value)
            return
        if self._chance is None:
            # Made here because few flushes need it. The sample affects only percentiles' ranks.
            self._chance = random.Random(0)  # noqa: S311
        # All values are equally likely to be in the sample.
        if (at := self._chance.randrange(self.count)) < KEPT:
            self._kept[at] = value

    def fields(self, name: str) -> dict[str, float]:
        """The fields `NAME_p50`, `NAME_p90`, `NAME_p99` and `NAME_max`; none without a value."""
        if not self.count:
            return {}
        self._kept.sort()
        found = {f"{name}_{p}": percentile(self._kept, n) for p, n in _PERCENTS.items()}
        return {**found, f"{name}_max": self.most}
