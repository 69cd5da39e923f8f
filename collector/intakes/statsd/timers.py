"""Timers: count, sum, mean, extremes and quantiles of the values of one flush. Pure.

Up to `EXACT` values of a flush are stored and the quantiles are exact. More values are counted in
buckets of logarithmic width (DDSketch, https://arxiv.org/abs/1908.10693), whose quantiles are
within `ERROR` of the exact ones; count, sum, mean and extremes remain exact.
"""

from __future__ import annotations

import math
from array import array
from typing import Final

from collector.intakes.series import Series

EXACT: Final = 10_000
"""Most values of one timer and flush that are stored."""
ERROR: Final = 0.01
"""Largest relative error of quantiles that are computed from buckets."""
QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
"""Quantiles by the name of their field."""

_GAMMA: Final = (1 + ERROR) / (1 - ERROR)
_MOST_BUCKETS: Final = 4096
"""Most buckets, enough for 35 orders of magnitude; for wider spreads, widths and error double."""
_SMALLEST: Final = 1e-12
"""Size under which a value counts as 0 in buckets."""


class Timer:
    """The values of one series since the last flush.

    `unreachable` counts round trips without an answer, `first` those left out as the first ones
    after a start of Asterisk.
    """

    __slots__ = ("_buckets", "_values", "_weights", "first", "series", "touched", "unreachable")

    def __init__(self, series: Series) -> None:
        self.series = series
        self.touched = False
        self._clear()

    def _clear(self) -> None:
        self._values = array("d")
        self._weights: array[float] | None = None
        self._buckets: _Buckets | None = None
        self.unreachable = 0
        self.first = 0

    def add(self, value: float, weight: float = 1.0) -> None:
        """Add a value that stands for `weight` values (1 / sample rate)."""
        if self._buckets is not None:
            self._buckets.add(value, weight)
            return
        if len(self._values) >= EXACT:
            self._buckets = _Buckets(self._values, self._weights)
            self._values = array("d")
            self._weights = None
            self._buckets.add(value, weight)
            return
        if weight != 1.0 and self._weights is None:
            self._weights = array("d", [1.0]) * len(self._values)
        self._values.append(value)
        if self._weights is not None:
            self._weights.append(weight)

    def flush(self) -> dict[str, float]:
        """The fields of the flush; the timer is empty afterwards.

        Only `count` (0.0) if there is no value. A quantile is the smallest value that at least this
        share of all values does not exceed (nearest rank). `approximate` is the number of values
        whose quantiles are from buckets. Fields that are 0 but for `count` are absent.
        """
        if self._buckets is not None:
            fields = self._buckets.fields()
        elif self._values:
            fields = _exact(self._values, self._weights)
        else:
            fields = {"count": 0.0}
        if self.unreachable:
            fields["unreachable"] = self.unreachable
        if self.first:
            fields["first"] = self.first
        self._clear()
        return fields


def _exact(values: array[float], weights: array[float] | None) -> dict[str, float]:
    if weights is None:
        ordered = sorted(values)
        count = float(len(ordered))
        total = math.fsum(ordered)
        quantiles = {
            field: ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
            for field, share in QUANTILES.items()
        }
    else:
        pairs = sorted(zip(values, weights, strict=True))
        ordered = [value for value, _ in pairs]
        count = math.fsum(weights)
        total = math.fsum(value * weight for value, weight in pairs)
        quantiles = {field: _weighted(pairs, share * count) for field, share in QUANTILES.items()}
    return _fields(count, total, ordered[0], ordered[-1], quantiles)


def _weighted(pairs: list[tuple[float, float]], rank: float) -> float:
    """The smallest value whose cumulative weight reaches a rank, of (value, weight) pairs."""
    reached = 0.0
    for value, weight in pairs:
        reached += weight
        # Sums of weights such as 1/0.3 differ from the product by rounding.
        if reached >= rank * (1 - 1e-12):
            return value
    return pairs[-1][0]


def _fields(
    count: float, total: float, smallest: float, largest: float, quantiles: dict[str, float]
) -> dict[str, float]:
    mean = min(max(total / count, smallest), largest)
    return {
        "count": count,
        "sum": total,
        "mean": mean,
        "min": smallest,
        "max": largest,
        **quantiles,
    }


class _Buckets:
    """Values counted in buckets; bucket i > 0 or < 0 holds sizes in (gamma^(i-1), gamma^i]."""

    def __init__(self, values: array[float], weights: array[float] | None) -> None:
        self._gamma = _GAMMA
        self._log = math.log(_GAMMA)
        self._count = 0
        self._weight = 0.0
        self._sum = 0.0
        self._min = math.inf
        self._max = -math.inf
        # By sign and index: (-1, i), (0, 0), (1, i).
        self._held: dict[tuple[int, int], float] = {}
        for at, value in enumerate(values):
            self.add(value, 1.0 if weights is None else weights[at])

    def add(self, value: float, weight: float) -> None:
        self._count += 1
        self._weight += weight
        self._sum += value * weight
        self._min = min(self._min, value)
        self._max = max(self._max, value)
        size = abs(value)
        if size < _SMALLEST:
            bucket = (0, 0)
        else:
            bucket = (1 if value > 0 else -1, math.ceil(math.log(size) / self._log))
        self._held[bucket] = self._held.get(bucket, 0.0) + weight
        if len(self._held) > _MOST_BUCKETS:
            self._widen()

    def _widen(self) -> None:
        """Join each two neighbouring buckets (UDDSketch, https://arxiv.org/abs/2004.08604)."""
        held, self._held = self._held, {}
        self._gamma **= 2
        self._log *= 2
        for (sign, index), weight in held.items():
            bucket = (sign, -(-index // 2))
            self._held[bucket] = self._held.get(bucket, 0.0) + weight

    def fields(self) -> dict[str, float]:
        pairs = sorted((self._middle(*bucket), weight) for bucket, weight in self._held.items())
        quantiles = {
            field: min(max(_weighted(pairs, share * self._weight), self._min), self._max)
            for field, share in QUANTILES.items()
        }
        fields = _fields(self._weight, self._sum, self._min, self._max, quantiles)
        return fields | {"approximate": self._count}

    def _middle(self, sign: int, index: int) -> float:
        """The value from which the ends of a bucket have the same relative difference."""
        if sign == 0:
            return 0.0
        return sign * 2 * math.exp(index * self._log) / (self._gamma + 1)
