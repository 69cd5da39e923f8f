"""When days are looked at: "when next?" is pure; the loop that waits is apart."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final

import structlog

from collector.influx import InfluxError
from collector.metrics import Metrics
from collector.rollup.daily import Daily, Outcome
from collector.rollup.reconcile import Reconciler
from collector.state import SharedLock

log = structlog.get_logger("collector.rollup")

EVERY: Final = timedelta(minutes=15)
_RETRY: Final = timedelta(seconds=30)


def next_run(now: datetime) -> datetime:
    """The next quarter of an hour (UTC) after `now`."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + EVERY * ((now - midnight) // EVERY + 1)


class Schedule:
    """Computes the days that are due, at its start and every 15 minutes, oldest first.

    That is the open day, the day before until it is final, and whatever was missed or has changed.
    `changed` is called after each day that was stored.
    """

    def __init__(
        self,
        daily: Daily,
        reconciler: Reconciler,
        metrics: Metrics,
        *,
        changed: Callable[[], None],
        lock: asyncio.Lock | SharedLock | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._daily = daily
        self._reconciler = reconciler
        self._metrics = metrics
        self._changed = changed
        self._clock = clock
        self._refused: dict[date, int] = {}
        self._woken = asyncio.Event()
        self.lock = lock or asyncio.Lock()
        """Held while days are looked at or computed: who deletes raw reports takes it."""

    async def run(self) -> None:
        """Look now, at each quarter of an hour and when woken, until cancelled."""
        while True:
            self._woken.clear()
            due = next_run(self._clock()) if await self.once() else self._clock() + _RETRY
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, (due - self._clock()).total_seconds())):
                    await self._woken.wait()

    def wake(self) -> None:
        """Look soon: raw reports have changed."""
        self._woken.set()

    async def once(self) -> bool:
        """Compute all that is due; False where InfluxDB did not let us."""
        try:
            async with self.lock:
                days = await self._reconciler.due(self._clock())
            # What an operator has mended, or has expired, is refused no longer.
            self._refused = {day: self._refused[day] for day in self._refused.keys() & set(days)}
            self._metrics.rollup_days_refused.set(len(self._refused))
            for number, day in enumerate(days):
                self._metrics.rollup_days_due.set(len(days) - number)
                async with self.lock:
                    await self._roll(day, left=len(days) - number - 1)
        except InfluxError as error:
            self._metrics.rollup_runs.labels("failed").inc()
            log.warning("the series could not be brought up to date", why=str(error))
            return False
        self._metrics.rollup_days_due.set(0)
        self._metrics.rollup_last_success.set_to_current_time()
        self._daily.forget_expired(self._clock())
        return True

    async def _roll(self, day: date, *, left: int) -> None:
        begun = time.perf_counter()
        result = await self._daily.roll(day, self._clock())
        seconds = time.perf_counter() - begun
        self._metrics.rollup_runs.labels(result.outcome.value).inc()
        self._metrics.rollup_seconds.observe(seconds)
        if result.outcome is Outcome.REFUSED:
            self._refuse(day, result.reports)
            return
        self._refused.pop(day, None)
        self._metrics.rollup_days_refused.set(len(self._refused))
        if result.outcome is Outcome.WRITTEN:
            log.info(
                "day rolled up",
                day=day.isoformat(),
                reports=result.reports,
                nodes=result.nodes,
                final=result.final,
                seconds=round(seconds, 3),
                left=left,
            )
            self._changed()

    def _refuse(self, day: date, reports: int) -> None:
        """Tell the operator, once for each number of reports found."""
        if self._refused.get(day) != reports:
            log.error(
                "a final day would lose over 20 %; it stays as it is",
                reason="refused",
                day=day.isoformat(),
                reports=reports,
                todo="look with `collector verify`; mend with `collector rollup --force`",
            )
        self._refused[day] = reports
        self._metrics.rollup_days_refused.set(len(self._refused))
