"""Compares stored days with their raw reports, point by point. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from collector.rollup.cache import RawCount
from collector.rollup.compute import Outcome
from collector.rollup.daily import Daily


class Verdict(StrEnum):
    """Result of the comparison of a stored day with its raw reports."""

    GOOD = "good"
    MISSING = "missing"
    DIFFERS = "differs"
    IMPORTED = "imported"
    EXPIRED = "expired"
    EMPTY = "empty"
    ERASING = "erasing"
    """An erasure of some of its reports is not done yet."""

    @property
    def bad(self) -> bool:
        """Whether the day needs repair."""
        return self in (Verdict.MISSING, Verdict.DIFFERS)


@dataclass(frozen=True, slots=True)
class Verified:
    """Result of the verification of a day.

    `stored` is the stored number of reports (None: the day is not stored), `recounted` the number
    in raw data, with those erased since. `differing` is the number of points that differ, by
    measurement.
    """

    day: date
    verdict: Verdict
    stored: int | None
    recounted: int
    differing: Mapping[str, int] = field(default_factory=dict)


async def verify(daily: Daily, day: date, now: datetime) -> Verified:
    """Compute a day again and compare every point. Raises InfluxError, StoreUnavailable."""
    inputs = await daily.read_inputs(day, now)
    stored = inputs.stored_row
    recounted = inputs.basis().get(day, RawCount()).reports
    reports = None if stored is None else stored.number("reports")
    if (fixed := await daily.fixed(inputs, now)) is not None:
        # Why a day is left unchanged is the same word in both, but for what owners erased.
        verdict = Verdict.GOOD if fixed is Outcome.ERASED else Verdict(fixed.value)
        return Verified(day, verdict, reports, recounted)
    differing = await daily.differences(inputs, now)
    if reports is None:
        verdict = Verdict.MISSING if differing else Verdict.EMPTY
    else:
        verdict = Verdict.DIFFERS if differing else Verdict.GOOD
    return Verified(day, verdict, reports, recounted, differing)
