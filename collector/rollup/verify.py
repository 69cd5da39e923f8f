"""Stored days compared, number by number, with what their raw reports say. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from collector.rollup.cache import RawCount
from collector.rollup.daily import Daily, Outcome


class Verdict(StrEnum):
    """How a stored day stands to its raw reports."""

    GOOD = "good"
    MISSING = "missing"
    DIFFERS = "differs"
    IMPORTED = "imported"
    EXPIRED = "expired"
    EMPTY = "empty"

    @property
    def bad(self) -> bool:
        """Whether the day is in need of repair."""
        return self in (Verdict.MISSING, Verdict.DIFFERS)


_KEPT = {
    Outcome.EXPIRED: Verdict.EXPIRED,
    Outcome.IMPORTED: Verdict.IMPORTED,
    Outcome.ERASED: Verdict.GOOD,
}


@dataclass(frozen=True, slots=True)
class Verified:
    """A day verified.

    `stored` are its reports as stored (None: the day is not), `recounted` those found in raw data
    and erased since; `differing` tells how many points differ, by measurement.
    """

    day: date
    verdict: Verdict
    stored: int | None
    recounted: int
    differing: Mapping[str, int] = field(default_factory=dict)


async def verify(daily: Daily, day: date, now: datetime) -> Verified:
    """Compute a day again and compare every point. Raises InfluxError."""
    around = await daily.look(day, now)
    stored = around.itself
    recounted = around.basis().get(day, RawCount()).reports
    reports = None if stored is None else stored.number("reports")
    if (kept := await daily.kept(around, now)) is not None:
        return Verified(day, _KEPT[kept], reports, recounted)
    differing = await daily.differences(around, now)
    if reports is None:
        verdict = Verdict.MISSING if differing else Verdict.EMPTY
    else:
        verdict = Verdict.DIFFERS if differing else Verdict.GOOD
    return Verified(day, verdict, reports, recounted, differing)
